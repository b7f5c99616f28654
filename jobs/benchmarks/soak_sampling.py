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
from soak_watch import processes

from more_ray.config import ModelConfig

SAMPLES = 4


def sample_twice(
    model: ModelConfig, folder: Path, prompts: int, kill_every: float
) -> dict[str, Any]:
    """A row: what is lost, doubled or wrong among the samples of a job that is disturbed, against
    those of one that is not.

    Args:
        kill_every: seconds from one kill of the replica to the next; longer where no block of
            prompts was done in between.
    """
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
    kills, stop = Counter[str](), threading.Event()

    def kill(title: str) -> None:
        with suppress(IndexError, psutil.NoSuchProcess):
            processes(title)[0].kill()
            kills[title] += 1

    def disturb() -> None:
        done = 0
        while not stop.is_set():
            if len(parts := list(disturbed.glob("parts/*.parquet"))) > done:
                done = len(parts)
                if not kills:
                    kill("SampleBlock")
                kill("ServeReplica:scores-")
                stop.wait(kill_every)
            stop.wait(0.1)

    def timed(folder: Path) -> float:
        began = time.monotonic()
        sample(settings, output_dir=str(folder))
        return time.monotonic() - began

    alone = timed(whole)
    with threads([disturb]):
        try:
            seconds = timed(disturbed)
        finally:
            stop.set()
    return {
        "samples": prompts * SAMPLES,
        **compared(read(whole), read(disturbed)),
        "services killed": kills["ServeReplica:scores-"],
        "samplers killed": kills["SampleBlock"],
        "undisturbed s": alone,
        "disturbed s": seconds,
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
