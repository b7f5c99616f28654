"""Preparing and streaming 1, 10 and 100 times the data: speed, memory, and what steps wait for it.

python jobs/benchmarks/ingest.py
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from more_ray.cli import load_config
from more_ray.config import DataConfig, RunConfig, Section, SimulatorConfig, TrainConfig

MIB = 2**20


class IngestBenchmark(Section):
    pairs: int = Field(400, ge=2)
    """Training pairs of each of five simulated sources at 1x."""
    scales: list[int] = Field([1, 10, 100], min_length=1)
    """How many times that."""
    steps: int = Field(40, ge=2)
    """Training steps that read the stream, of 5 x 16 pairs."""


def main() -> None:
    config = load_config(IngestBenchmark, sys.argv[1:], __doc__)
    from record import record

    spawn = multiprocessing.get_context("spawn")
    rows = []
    for scale in config.scales:
        with ProcessPoolExecutor(1, spawn) as fresh:
            rows.append(fresh.submit(measure, config, scale).result())
    record("ingest", config.model_dump(mode="json"), rows)


def measure(config: IngestBenchmark, scale: int) -> dict[str, Any]:
    import json

    from more_ray.cluster import connect, quieten
    from more_ray.data.prepare import prepare
    from more_ray.model.tokenizer import training_tokenizer
    from more_ray.train.run import run

    quieten()
    with tempfile.TemporaryDirectory() as folder:
        data = DataConfig(
            simulator=SimulatorConfig(pairs=config.pairs * scale, test_pairs=100),
            max_pairs=None,
            prepared=f"{folder}/prepared",
        )
        train = RunConfig(
            output_dir=f"{folder}/run", data=data, train=TrainConfig(max_steps=config.steps)
        )
        connect(1, verbose=False)
        with peak_memory() as prepare_peak:
            started = time.perf_counter()
            prepared = prepare(data, training_tokenizer(train.model, data.max_length))
            seconds = time.perf_counter() - started
        with peak_memory() as train_peak:
            run(train)
        lines = Path(f"{folder}/run/metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines][1:]
    pairs = sum(prepared.sizes("train"))
    return {
        "scale": scale,
        "pairs": pairs,
        "prepare s": seconds,
        "pairs/s": pairs / seconds,
        "prepare peak MiB": prepare_peak[0] / MIB,
        "train peak MiB": train_peak[0] / MIB,
        "step ms": 1e3 * statistics.median(step["seconds"] for step in steps),
        "waits for data": sum(step["data_wait_seconds"] for step in steps)
        / sum(step["seconds"] for step in steps),
    }


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """The largest memory of this process and all below it, shared pages counted once."""
    import psutil

    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            total = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            peak[0] = max(peak[0], total)

    thread = threading.Thread(target=watch)
    thread.start()
    yield peak
    over.set()
    thread.join()


if __name__ == "__main__":
    main()
