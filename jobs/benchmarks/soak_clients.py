"""Clients of the soak: they know each score beforehand, and see what is lost, doubled or wrong."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import h11
import numpy as np
from soak_http import Connection

HUNG, OTHER = "no answer", "other scores"
GONE = (OSError, h11.ProtocolError)
"""What a connection raises that has ended."""


@dataclass(frozen=True)
class Question:
    body: bytes
    scores: list[float]
    """What the first model gives the answers; the second gives them negated."""


@dataclass
class Target:
    """The service, and what it may answer at the moment."""

    port: int
    token: str
    timeout: float
    """Seconds after which it ends a request."""
    margin: float
    """Seconds more, after which a try without an answer counts as hung."""
    patience: float
    """Seconds of tries after which a request counts as lost."""
    questions: Iterator[Question]
    signs: tuple[int, ...] = (1,)
    """1 where the first model may answer, -1 where the second may."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def question(self) -> Question:
        with self.lock:
            return next(self.questions)

    def connection(self) -> Connection:
        return Connection(self.port, self.token)


@dataclass
class Seen:
    """What the clients of a kind have seen."""

    counts: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)
    """How tries ended that were repeated."""
    spans: list[tuple[float, float]] = field(default_factory=list)
    """When each request began and ended, with all its tries."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, more: int = 1) -> None:
        with self.lock:
            self.counts[name] += more

    def tried(self, outcome: str) -> None:
        with self.lock:
            self.tries[outcome] += 1

    def row(self) -> dict[str, Any]:
        ms = [1e3 * (ended - began) for began, ended in self.spans]
        shares = {"p50 ms": 50, "p95 ms": 95, "p99 ms": 99, "max ms": 100}
        return {
            **{name: self.counts[name] for name in ("requests", "answered")},
            "tried again": ", ".join(f"{n} x {how}" for how, n in sorted(self.tries.items())),
            **{name: self.counts[name] for name in FAULTS},
            **{
                name: float(np.percentile(ms, share)) if ms else None
                for name, share in shares.items()
            },
        }


FAULTS = ("lost", "doubled", "wrong", "hung")


def ask(target: Target, seen: Seen, connection: Connection, seconds: float = 0.0) -> None:
    """One request, tried until it is answered; its body is sent in so many seconds."""
    question, began, unasked = target.question(), time.monotonic(), connection.unasked
    seen.add("requests")
    while True:
        outcome, wait = attempt(target, connection, question, seconds)
        if outcome == "200":
            seen.add("answered")
            seen.spans.append((began, time.monotonic()))
            break
        if outcome == OTHER:
            seen.add("wrong")
            break
        seen.tried(outcome)
        seen.add("hung", outcome == HUNG)
        if time.monotonic() - began > target.patience:
            seen.add("lost")
            break
        time.sleep(wait or 0.1)
    seen.add("doubled", connection.unasked - unasked)


def attempt(
    target: Target, connection: Connection, question: Question, seconds: float
) -> tuple[str, float]:
    """How a try ended, and in how many seconds the service wants the next."""
    before, until = target.signs, time.monotonic() + target.timeout + target.margin
    try:
        connection.send(question.body, seconds)
        status, wait, content = connection.answer(until)
    except TimeoutError:
        connection.close()
        return HUNG, 0
    except GONE:
        connection.close()
        return "cut off", 0
    if status != 200:
        return str(status), wait
    scores = json.loads(content)["scores"]
    right = any(same(scores, question.scores, sign) for sign in {*before, *target.signs})
    return ("200" if right else OTHER), 0


def same(scores: Sequence[float], expected: Sequence[float], sign: int) -> bool:
    return len(scores) == len(expected) and all(
        math.isclose(one, sign * other, rel_tol=1e-5, abs_tol=1e-5)
        for one, other in zip(scores, expected, strict=True)
    )


def endless(target: Target, seen: Seen, connection: Connection) -> None:
    """A body that would take twice as long as a request may: the service must end it."""
    seen.add("requests")
    began = time.monotonic()
    with suppress(*GONE):
        connection.send(target.question().body, 2 * target.timeout)
        status, _, _ = connection.answer(time.monotonic() + target.margin)
        seen.tried(str(status))
    connection.close()
    ended = time.monotonic()
    seen.spans.append((began, ended))
    seen.add("hung", ended - began > target.timeout + target.margin)


def half(target: Target, seen: Seen, connection: Connection) -> None:
    """Half a body, and nobody there any more."""
    seen.add("requests")
    with suppress(*GONE):
        connection.send(target.question().body, share=0.5)
        time.sleep(0.1)
    connection.close()


def away(target: Target, seen: Seen, connection: Connection) -> None:
    """A request whose client leaves while it is scored."""
    seen.add("requests")
    with suppress(*GONE):
        connection.send(target.question().body)
        time.sleep(0.01)
    connection.close()


def burst(target: Target, seen: Seen, size: int) -> None:
    """So many requests at once, each on its own connection."""

    def one() -> None:
        connection = target.connection()
        ask(target, seen, connection)
        connection.close()

    with threads([one] * size):
        pass


@contextmanager
def clients(target: Target, settings: Any) -> Iterator[dict[str, Seen]]:
    """All of them, until the `with` block ends and every request under way has."""
    seen = {name: Seen() for name in ("steady", "burst", "slow", "never whole", "half", "gone")}
    stop = threading.Event()

    def every(seconds: float, do: Callable[..., None], name: str, *more: Any) -> Callable[[], None]:
        def run() -> None:
            connection = target.connection()
            while not stop.wait(seconds):
                do(target, seen[name], connection, *more)
            connection.close()

        return run

    def bursts() -> None:
        while not stop.wait(settings.burst_every):
            burst(target, seen["burst"], settings.burst)

    loops = [
        *[every(1 / settings.rate, ask, "steady")] * settings.clients,
        bursts,
        every(1, ask, "slow", target.timeout / 3),
        every(1, endless, "never whole"),
        every(1, half, "half"),
        every(1, away, "gone"),
    ]
    with threads(loops):
        try:
            yield seen
        finally:
            stop.set()


@contextmanager
def threads(loops: Sequence[Callable[[], None]]) -> Iterator[None]:
    """Run them beside the `with` block, and wait for all of them; what one raises is raised."""
    with ThreadPoolExecutor(len(loops)) as pool:
        running = [pool.submit(one) for one in loops]
        yield
    for one in running:
        one.result()
