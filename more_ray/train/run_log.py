"""Where a run's metrics go: `metrics.jsonl`, the progress bar, and the trackers in the config;
and `starts.jsonl`, a line each time the workers start.

A Ray actor, so that writing never makes a worker wait.
"""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone

import ray

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.metrics.evaluation import Evaluation
from more_ray.run_folder import METRICS, STARTS
from more_ray.train.metrics_line import MetricsLine, RunState
from more_ray.train.trackers import Tracker, make_trackers

FLUSH_SECONDS = 10.0


class RunLog:
    """Keeps the lines of `metrics.jsonl` and hands the newest to the driver."""

    def __init__(self, output_dir: str, config: RunConfig) -> None:
        self._path = storage.join(output_dir, METRICS)
        self._starts_path = storage.join(output_dir, STARTS)
        self._lines = _read_lines(self._path)
        self._trackers: list[Tracker] = make_trackers(output_dir, config)
        self._state: RunState = {
            "phase": "starting workers",
            "line": None,
            "evaluation": None,
            "skipped_steps": 0,
            "stopped": None,
        }
        self._flushed = 0.0

    def resume(self, done: int, workers: int) -> None:
        """The workers start at step `done`: forget the lines of steps that will be run again."""
        lines = list(map(json.loads, self._lines))
        again = max(0, lines[-1]["step"] + 1 - done) if lines else 0
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        start = json.dumps({"time": now, "workers": workers, "step": done, "steps_again": again})
        _write_lines(self._starts_path, [*_read_lines(self._starts_path), start])
        kept = [line for line in lines if line["step"] < done]
        self._lines = [json.dumps(line) for line in kept]
        self._state["skipped_steps"] = sum(line.get("skipped", False) for line in kept)
        self.flush()

    def phase(self, name: str) -> None:
        """Note what the workers do now, for the progress bar."""
        self._state["phase"] = name

    def log(self, line: MetricsLine) -> None:
        """Add the line of a micro-step."""
        self._lines.append(json.dumps(line))
        self._state["phase"], self._state["line"] = "training", line
        self._state["skipped_steps"] += line["skipped"]
        for tracker in self._trackers:
            tracker.log(line)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def evaluated(self, evaluation: Evaluation) -> None:
        """Note the content of a new `eval.json`."""
        self._state["evaluation"] = evaluation

    def stop(self, reason: str) -> None:
        """Note why the workers end before the last step; starting them again would not help."""
        self._state["stopped"] = reason

    def state(self) -> RunState:
        return self._state

    def close(self) -> None:
        self.flush()
        for tracker in self._trackers:
            tracker.close()

    def flush(self) -> None:
        """Write all lines; checkpoints wait for it, so that no line before them can be lost."""
        _write_lines(self._path, self._lines)
        self._flushed = time.monotonic()


def _read_lines(path: str) -> list[str]:
    return storage.read_text(path).splitlines() if storage.exists(path) else []


def _write_lines(path: str, lines: list[str]) -> None:
    storage.write_text(path, "".join(f"{line}\n" for line in lines))


def start_run_log(output_dir: str, config: RunConfig) -> ray.actor.ActorHandle:
    """Start the actor, on the driver's node."""
    node = ray.get_runtime_context().get_node_id()
    return (
        ray.remote(RunLog)
        .options(
            num_cpus=0,
            scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                node, soft=False
            ),
        )
        .remote(output_dir, config)
    )
