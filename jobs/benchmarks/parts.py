"""Parts of a long check, done one after the other in other processes until a deadline.

What each part returns is on disk before the next begins, a part that fails or takes its process
along costs no other part, and at the deadline the part that is running is stopped.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from more_ray.environment import PACKAGES, environment

GRACE = 15
"""Seconds that a process has for ending by itself."""
HELD_BYTES = 2**28
"""Device memory that a part may leave in use; after more, the next gets a new process."""


@dataclass(frozen=True)
class Part:
    """`function` is `MODULE.NAME`: the process that runs it imports it, this one does not."""

    name: str
    function: str
    arguments: tuple[Any, ...]


@dataclass
class Record:
    """The parts of a phase, as a file that is written anew after each."""

    path: Path
    settings: dict[str, Any]
    done: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Why, in a line."""
    undone: list[str] = field(default_factory=list)
    """Names of the parts that are still to do."""

    def write(self) -> None:
        content = {
            "measured_with": environment((*PACKAGES, "trl")),
            "settings": self.settings,
            "done": self.done,
            "failed": self.failed,
            "undone": self.undone,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(content, indent=1) + "\n")


def run_parts(
    parts: Sequence[Part], record: Record, until: float, within: Part | None = None
) -> None:
    """Run `parts` in order and move each in `record` from what is undone.

    Args:
        until: the deadline, a time of `time.monotonic`.
        within: a context that the parts share, such as a process group.
    """
    waiting = list(parts)
    while waiting and time.monotonic() < until:
        results, sender = multiprocessing.Pipe(duplex=False)
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=_work, args=(sender, waiting, within))
        process.start()
        sender.close()
        _receive(results, waiting, record, until)
        _end(process, GRACE if time.monotonic() < until else 0)


def _receive(results: Connection, waiting: list[Part], record: Record, until: float) -> None:
    """Until the deadline, or until the process that sends has ended."""
    running = True  # it may end before its first part, which then has failed
    while waiting and results.poll(max(0, until - time.monotonic())):
        try:
            message = results.recv()
        except EOFError:
            if not running:
                return
            message = {"failed": "the process ended"}
        running = message is None
        if message is None:
            continue
        name = waiting.pop(0).name
        record.undone.remove(name)
        for kind, value in message.items():
            getattr(record, kind)[name] = value
        record.write()


def _end(process: BaseProcess, seconds: float) -> None:
    """Let it end by itself within `seconds`, then stop it, and what it has started."""
    process.join(seconds)
    if process.is_alive():
        process.terminate()
        process.join(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _work(results: Connection, parts: Sequence[Part], within: Part | None) -> None:
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that contexts are left
    with _called(within) if within else nullcontext():
        for part in parts:
            results.send(None)
            started = time.monotonic()
            try:
                result = _called(part)
            except Exception as error:
                traceback.print_exc()
                results.send({"failed": f"{type(error).__name__}: {error}"[:2_000]})
                return  # the device may be of no more use to this process
            results.send({"done": {**result, "took_s": time.monotonic() - started}})
            if _held_bytes() > HELD_BYTES:
                return


def _called(part: Part) -> Any:
    module, _, name = part.function.rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function(*part.arguments)


def _held_bytes() -> int:
    if "torch" not in sys.modules:
        return 0
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated()
