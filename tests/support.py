"""What tests of every kind share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pyarrow.parquet as pq

from more_ray.config import RunConfig
from more_ray.config.sample import RejectionSamplingConfig

REPOSITORY = Path(__file__).parents[1]
MakeConfig = Callable[..., RunConfig]
MakeSampling = Callable[..., RejectionSamplingConfig]
Value = TypeVar("Value")
BLOCKS = 12
ROWS = 2 * BLOCKS - 1
"""Prompts of a `MakeSampling`, in blocks of two: the last has one."""
SAMPLES = 11
"""Samples of each prompt, more than one request of the reward service takes."""


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def write_reward_model(folder: Path) -> None:
    """The tiny model with an untrained head, and its tokenizer."""
    import torch

    from more_ray.config import ModelConfig
    from more_ray.model.loading import load_classifier, load_tokenizer

    tokenizer = load_tokenizer(ModelConfig(), 512)
    load_classifier(ModelConfig(), tokenizer, torch.float32, seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_broken_model(folder: Path) -> None:
    """As `write_reward_model`, but "~" in an answer makes its score NaN."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    write_reward_model(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    (broken,) = AutoTokenizer.from_pretrained(folder)("~")["input_ids"][-1:]
    with torch.no_grad():
        model.get_input_embeddings().weight[broken] = torch.nan
    model.save_pretrained(folder)


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of an ASGI app in this process, without Serve around it."""
    import uvicorn

    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, 30, "server")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def job_command(name: str, *arguments: str) -> list[str]:
    """`python jobs/NAME.py ...` with this interpreter, wherever it is run."""
    return [sys.executable, str(REPOSITORY / "jobs" / f"{name}.py"), *arguments]


def without_cluster(**changes: str) -> dict[str, str]:
    """The environment of a job that starts a cluster of its own."""
    return {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | changes


def wait_for(
    condition: Callable[[], Value], seconds: float = 120, what: str = "", every: float = 0.02
) -> Value:
    """Its value once that is true; it is asked again and again."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"no {what or 'success'} within {seconds:.0f} seconds"
        time.sleep(every)
    return value


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether a server does so yet."""
    assert process.poll() is None, "the server ended"
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def processes(title: str) -> list[psutil.Process]:
    """Those that this test session has started and whose title holds `title`, such as an actor's
    class or a task's name."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if title in " ".join(child.cmdline()):
                found.append(child)
    return found


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path: Path, records: list[Any]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def metrics(folder: Path) -> list[dict[str, Any]]:
    """A run's micro-steps."""
    return read_lines(folder / "metrics.jsonl")


def starts(folder: Path) -> list[dict[str, Any]]:
    """Each time that a run's workers started."""
    return read_lines(folder / "starts.jsonl")


def scores(folder: Path) -> np.ndarray:
    """`[N, 2]`, the rewards that a run gave its test pairs."""
    table = pq.read_table(folder / "scores.parquet")
    return np.stack([table["chosen"], table["rejected"]], axis=1)


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def sampled(folder: Path) -> list[Any]:
    return [pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("samples", "best")]


def parts(folder: Path) -> dict[str, int]:
    """The parts that are done, and when."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("parts/*.parquet")}
