"""What kills cost: one training run, killed again and again at random times, beside an undisturbed.

python jobs/benchmarks/kills.py

Kills are SIGKILL, of the whole job (which is then started again), of a training worker, or of a
process that makes batches. Steps done again are those that were logged: of the last seconds before
a kill of the job, nothing is known. Needs psutil.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from pydantic import Field

from more_ray.cli import load_config
from more_ray.config import Section

JOBS = Path(__file__).parents[1]
TITLES = {"worker": "ray::RayTrainWorker", "data": "ray::ReadBatches"}


class KillsBenchmark(Section):
    job_kills: int = Field(3, ge=0)
    """Kills of the whole job."""
    worker_kills: int = Field(11, ge=0)
    """Kills of one of the workers."""
    data_kills: int = Field(6, ge=0)
    """Kills of a process that makes batches."""
    steps: int = Field(240, ge=1)
    """Training steps of the run, of 5 x 16 pairs."""
    checkpoint_every: int = Field(5, ge=1)
    """Steps from one checkpoint to the next."""
    seed: int = Field(0, ge=0)
    """Seed of the times, kinds and victims of the kills."""


def main() -> None:
    config = load_config(KillsBenchmark, sys.argv[1:], __doc__)
    from record import record

    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = (
            Job(config, Path(folder), name) for name in ("undisturbed", "killed")
        )
        subprocess.run(
            [sys.executable, str(JOBS / "prepare_data.py"), *undisturbed.settings], check=True
        )
        undisturbed.start()
        undisturbed.wait()
        kills = kill_at_random(config, killed, undisturbed.seconds)
        starts = killed.lines("starts.jsonl")
        row = {
            "kills": len(kills),
            **{kind: sum(kill["kind"] == kind for kill in kills) for kind in ("job", *TITLES)},
            "undisturbed s": undisturbed.seconds,
            "killed s": killed.seconds,
            "lost s a kill": (killed.seconds - undisturbed.seconds) / len(kills),
            "steps": config.steps,
            "steps done again": sum(start["steps_again"] for start in starts),
            "same weights": killed.weights() == undisturbed.weights(),
        }
    settings = {**config.model_dump(mode="json"), "timeline": with_recovery(kills, starts)}
    record("kills", settings, [row])


class Job:
    """A run of `jobs/train_more.py` in a session of its own, and how long it took in all."""

    def __init__(self, config: KillsBenchmark, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.settings = [
            *(f"output_dir={self.folder}", f"data.prepared={folder}/prepared"),
            *(f"data.simulator.pairs={16 * config.steps}", "data.simulator.test_pairs=100"),
            *("optimizer.lr=1e-3", "train.workers=2", "train.threads=1"),
            *(f"train.checkpoint_every={config.checkpoint_every}", "train.max_failures=1000"),
        ]

    def start(self) -> None:
        self.started = time.monotonic()
        self.launch()

    def launch(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(JOBS / "train_more.py"), *self.settings],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        """Until it has ended; raises CalledProcessError where it failed."""
        if self.process.wait():
            raise subprocess.CalledProcessError(self.process.returncode, self.process.args)
        self.seconds = time.monotonic() - self.started

    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """The job with all that it has started."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children)

    def processes(self, title: str) -> list[psutil.Process]:
        found = []
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if child.cmdline()[:1] and child.cmdline()[0].startswith(title):
                        found.append(child)
        return found

    def lines(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def weights(self) -> bytes:
        return (self.folder / "model" / "model.safetensors").read_bytes()


def kill_at_random(config: KillsBenchmark, job: Job, seconds: float) -> list[dict[str, Any]]:
    """Run the job to its end under fire; returns the kills. Fewer than asked for where it ends
    before the last.

    Args:
        seconds: that it takes undisturbed. A job or a worker is killed after a random time of
            training since the last such kill, so that all of these times are half of it or so.
    """
    chance = random.Random(config.seed)
    kinds = ["job"] * config.job_kills + ["worker"] * config.worker_kills
    longest_wait = seconds / max(1, len(kinds))
    chance.shuffle(kinds)
    # Batches are made in the first seconds after each start, so this is when to look for them.
    for place in sorted(chance.sample(range(len(kinds) + 1), config.data_kills), reverse=True):
        kinds.insert(place, "data")
    kills = []
    job.start()
    ended = 0  # starts of the workers that a kill has ended
    for kind in kinds:
        wait_for(lambda ended=ended: job.lines("starts.jsonl")[ended:], job.running)
        if kind != "data":
            time.sleep(chance.uniform(0, longest_wait))
        title = TITLES["worker" if kind == "job" else kind]
        victims = wait_for(lambda title=title: job.processes(title), job.running)
        if not victims:
            break
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        if kind != "data":
            ended = len(job.lines("starts.jsonl"))
        if kind == "job":
            job.kill()
            job.launch()
        else:
            with suppress(psutil.NoSuchProcess):
                chance.choice(victims).kill()
        kills.append({"time": now, "kind": kind})
    job.wait()
    return kills


def wait_for(look: Callable[[], list[Any]], going_on: Callable[[], bool]) -> list[Any]:
    while not (found := look()) and going_on():
        time.sleep(0.02)
    return found


def with_recovery(
    kills: list[dict[str, Any]], starts: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Each kill with the seconds until workers start at a step, unless it stopped none."""
    first = datetime.fromisoformat(kills[0]["time"])
    again = [datetime.fromisoformat(start["time"]) for start in starts]
    timeline = []
    for kill in kills:
        at = datetime.fromisoformat(kill["time"])
        after = [(one - at).total_seconds() for one in again if one > at]
        row = {"s": (at - first).total_seconds(), "kind": kill["kind"]}
        if kill["kind"] != "data" and after:
            row["s to the next start"] = after[0]
        timeline.append(row)
    return timeline


if __name__ == "__main__":
    main()
