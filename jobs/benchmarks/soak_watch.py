"""What the soak does to processes of the service, and what it sees of them."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
from soak_clients import threads

ROLES = {
    "replica": "ServeReplica:reward",
    "proxy": "ProxyActor",
    "controller": "ServeController",
    "raylet": "raylet/raylet",
    "GCS": "gcs_server",
}
WARM = 60.0
"""Seconds of a process that do not count: it still loads and warms up."""


def processes(title: str) -> list[psutil.Process]:
    """Those below this one whose command holds `title`."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if title in " ".join(child.cmdline()[:1]):
                found.append(child)
    return found


@dataclass
class Kill:
    at: float
    replica_back: float | None
    """When as many replicas ran again as before; None if that was not seen."""


@dataclass
class Watched:
    kills: list[Kill] = field(default_factory=list)
    sizes: dict[str, dict[int, list[tuple[float, float, float, int]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    """By role and process: seconds since it was first seen, RSS and USS in MiB, descriptors."""


@contextmanager
def watching(running: Callable[[], int], settings: Any) -> Iterator[Watched]:
    """Kill a replica again and again, and look at all processes, until the `with` block ends.

    Args:
        running: the replicas that can answer.
    """
    watched, stop = Watched(), threading.Event()
    chance, whole = random.Random(settings.seed), running()

    def kill() -> None:
        at = time.monotonic()
        while not stop.wait(max(0.0, at + settings.kill_every - time.monotonic())):
            at, victims = time.monotonic(), processes(ROLES["replica"])
            if not victims:
                continue
            with suppress(psutil.NoSuchProcess):
                chance.choice(victims).kill()
            noticed = wait_until(lambda: running() < whole, settings.timeout)
            back = noticed and wait_until(lambda: running() >= whole, 6 * settings.timeout)
            watched.kills.append(Kill(at, time.monotonic() if back else None))

    def look() -> None:
        first: dict[int, float] = {}
        while not stop.wait(settings.look_every):
            for role, title in ROLES.items():
                for process in processes(title):
                    with suppress(psutil.NoSuchProcess):
                        memory, files = process.memory_full_info(), process.num_fds()
                        now = time.monotonic()
                        age = now - first.setdefault(process.pid, now)
                        sizes = (memory.rss / 2**20, memory.uss / 2**20, files)
                        watched.sizes[role][process.pid].append((age, *sizes))

    with threads([kill, look]):
        try:
            yield watched
        finally:
            stop.set()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def size_rows(part: str, watched: Watched) -> list[dict[str, Any]]:
    """A row a role: sizes, and how fast they grow within a process."""
    rows = []
    for role, by_process in watched.sizes.items():
        series = [np.array(one) for one in by_process.values()]
        seen = np.concatenate(series)
        warm = [one[one[:, 0] >= WARM] for one in series if one[-1, 0] >= WARM]
        rows.append(
            {
                "part": part,
                "process": role,
                "processes": len(series),
                "oldest, min": float(seen[:, 0].max() / 60),
                "RSS MiB": float(np.median(seen[:, 1])),
                "USS MiB": float(np.median(seen[:, 2])),
                "most USS MiB": float(seen[:, 2].max()),
                "USS MiB/min": growth(warm, 2),
                **dict(zip(("first third", "last third"), thirds(warm, 2), strict=True)),
                "files": float(np.median(seen[:, 3])),
                "most files": int(seen[:, 3].max()),
                "files/min": growth(warm, 3),
            }
        )
    return rows


def growth(series: list[np.ndarray], column: int) -> str:
    """The slope within processes, a minute, with the 95% interval of least squares.

    Each process has its own level; neighbouring samples are taken as independent.
    """
    series = [one for one in series if len(one) > 2]
    x = np.concatenate([one[:, 0] / 60 - (one[:, 0] / 60).mean() for one in series] or [[]])
    y = np.concatenate([one[:, column] - one[:, column].mean() for one in series] or [[]])
    free = len(x) - len(series) - 1
    if free < 1:
        return "too short"
    slope = (x @ y) / (x @ x)
    rest = y - slope * x
    error = 1.96 * np.sqrt(rest @ rest / free / (x @ x))
    return f"{slope:+.2f} ± {error:.2f}"


def thirds(series: list[np.ndarray], column: int) -> tuple[float | None, float | None]:
    """The mean in the first and in the last third of the life of the oldest process."""
    if not series:
        return None, None
    oldest = max(series, key=lambda one: one[-1, 0])
    parts = np.array_split(oldest[:, column], 3)
    return float(parts[0].mean()), float(parts[-1].mean())


def recovery(watched: Watched, spans: list[tuple[float, float]]) -> dict[str, Any]:
    """Seconds from each kill to the first answer of a later request, and to a new replica."""
    spans_N2 = np.array(spans)
    answered, back = [], []
    for kill in watched.kills:
        after = spans_N2[spans_N2[:, 0] > kill.at, 1]
        if len(after):
            answered.append(after.min() - kill.at)
        if kill.replica_back is not None:
            back.append(kill.replica_back - kill.at)
    return {
        "kills": len(watched.kills),
        "s to an answer": float(np.median(answered)) if answered else None,
        "most": float(max(answered)) if answered else None,
        "replicas back": len(back),
        "s to the replica": float(np.median(back)) if back else None,
        "at most": float(max(back)) if back else None,
    }
