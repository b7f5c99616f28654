"""What a run costs beside its steps: seconds to the first step and to its end, and where they go.

python jobs/benchmarks/startup.py

One process with a local cluster that is up makes run after run of a few small steps, as a sweep, a
comparison or a restart does. Processor seconds are those of all processes of the job. Needs psutil.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import Field

from more_ray.cli import load_config
from more_ray.config import RunConfig, Section


class StartupBenchmark(Section):
    workers: int = Field(2, ge=1)
    """Training workers."""
    steps: int = Field(12, ge=1)
    """Small steps of a run: 3 x 8 pairs."""
    runs: int = Field(5, ge=1)
    """Runs that are measured, after one that prepares the data and connects."""


def main() -> None:
    config = load_config(StartupBenchmark, sys.argv[1:], __doc__)
    began = time.monotonic()
    from record import record

    from more_ray.cluster import connect, quieten

    quieten()
    connect(config.workers, verbose=False)
    connected = time.monotonic()
    from more_ray.train.run import run

    imported = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run(run_config(config, folder, "first"), quiet=True)
        first = time.monotonic()
        rows = [measured(config, folder, str(number)) for number in range(config.runs)]
    processes = rows[-1].pop("processes")
    for row in rows:
        row.pop("processes", None)
    rows.append({"run": "median", **{key: median(row[key] for row in rows) for key in MEASURES}})
    settings = config.model_dump(mode="json") | {
        "first run of the process, s": {
            "connect": connected - began,
            "import": imported - connected,
            "run": first - imported,
        },
        "processes of the last run": processes,
    }
    record("startup", settings, rows)


MEASURES = ("to the first step, s", "to the end, s", "processor, s")


def run_config(config: StartupBenchmark, folder: str, name: str) -> RunConfig:
    pairs = 8 * config.steps
    return RunConfig.model_validate(
        {
            "output_dir": f"{folder}/{name}",
            "data": {
                "simulator": {"sources": 3, "pairs": pairs, "test_pairs": 60},
                "prepared": f"{folder}/prepared",
            },
            "optimizer": {"lr": 2e-4},
            "train": {
                "workers": config.workers,
                "pairs_per_source": 8,
                "checkpoint_every": 4,
                "threads": 1,
            },
        }
    )


def measured(config: StartupBenchmark, folder: str, name: str) -> dict[str, Any]:
    from more_ray.train.run import run

    with Processes() as processes:
        began = time.time()
        run(run_config(config, folder, name), quiet=True)
        ended = time.time()
    first = json.loads((Path(folder) / name / "metrics.jsonl").read_text().splitlines()[0])
    return {
        "run": name,
        "to the first step, s": first["time"]
        - first["seconds"]
        + first["data_wait_seconds"]
        - began,
        "to the end, s": ended - began,
        "processor, s": sum(row["processor, s"] for row in processes.rows),
        "processes": processes.rows,
    }


class Processes:
    """This process and all that it starts: when each was born and the processor time it took."""

    def __enter__(self) -> Processes:
        import psutil

        self._began = time.time()
        self._over = threading.Event()
        self._seen: dict[int, list[Any]] = {}
        self._before: dict[int, float] = {}
        self._root = psutil.Process()
        self._look()
        self._before = {pid: seen[2] for pid, seen in self._seen.items()}
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        rows = [
            {
                "process": title,
                "born, s": max(0.0, born - self._began),
                "processor, s": spent - self._before.get(pid, 0.0),
            }
            for pid, (title, born, spent) in self._seen.items()
        ]
        self.rows = [row for row in rows if row["processor, s"] > 0.05]

    def _follow(self) -> None:
        while not self._over.wait(0.1):
            self._look()

    def _look(self) -> None:
        import psutil

        for one in [self._root, *self._root.children(recursive=True)]:
            try:
                times = one.cpu_times()
                seen = self._seen.setdefault(one.pid, ["", one.create_time(), 0.0])
                title = (one.cmdline() or [""])[0]
                seen[0] = title if title.startswith("ray::") else Path(title).name or seen[0]
                seen[2] = times.user + times.system
            except psutil.NoSuchProcess:
                pass


if __name__ == "__main__":
    main()
