"""Rejection sampling while its reward service and its sampling worker are killed."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from soak_clients import threads
from soak_watch import processes, wait_until

from more_ray.config import ModelConfig

SAMPLES = 4


def sample_twice(
    model: ModelConfig, folder: Path, prompts: int, kill_every: float
) -> dict[str, Any]:
    """A row: what is lost, doubled or wrong among the samples of a job that is disturbed, against
    those of one that is not. It hangs where it takes over ten times as long."""
    from more_ray import sample
    from more_ray.data.simulated import PROMPTS

    questions = [question for question, _ in PROMPTS["train"]]
    lines = [{"prompt": f"{questions[n % len(questions)]} ({n})"} for n in range(prompts)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = {
        "prompts": str(folder / "prompts.jsonl"),
        "reward": model.model_dump(mode="json"),
        "sampling": {"samples": SAMPLES, "max_new_tokens": 32, "batch_prompts": 4},
    }
    whole, disturbed = folder / "whole", folder / "disturbed"
    seconds, kills, stop = [], Counter[str](), threading.Event()

    def kill(title: str) -> None:
        with suppress(IndexError, psutil.NoSuchProcess):
            processes(title)[0].kill()
            kills[title] += 1

    def disturb() -> None:
        parts = disturbed / "parts"
        wait_until(lambda: stop.is_set() or any(parts.glob("*.parquet")), 600)
        kill("SampleBlock")
        while not stop.is_set():
            kill("ServeReplica:scores-")
            stop.wait(kill_every)

    began = time.monotonic()
    sample(settings, output_dir=str(whole))
    seconds.append(time.monotonic() - began)
    with threads([disturb]):
        try:
            began = time.monotonic()
            sample(settings, output_dir=str(disturbed))
            seconds.append(time.monotonic() - began)
        finally:
            stop.set()
    found = compared(read(whole), read(disturbed))
    return {
        "requests": prompts * SAMPLES,
        "answered": len(read(disturbed)),
        "tried again": ", ".join(f"{n} x {title} killed" for title, n in kills.items()),
        **found,
        "hung": int(seconds[1] > 10 * seconds[0] + 60),
        **dict.fromkeys(("p50 ms", "p95 ms", "p99 ms")),
        "max ms": 1e3 * seconds[1],
    }


def read(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "samples.parquet").to_pylist()


def compared(whole: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, int]:
    """How many samples of `whole` are missing in `other`, there more than once, or not the same."""
    expected = {(one["row"], one["sample"]): one for one in whole}
    times = Counter((one["row"], one["sample"]) for one in other)
    return {
        "lost": len(expected.keys() - times.keys()),
        "doubled": sum(times.values()) - len(times),
        "wrong": sum(expected.get((one["row"], one["sample"])) != one for one in other),
    }
