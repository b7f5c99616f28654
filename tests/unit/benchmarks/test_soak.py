"""The soak sees servers that lose, double, mix up or hang."""

from __future__ import annotations

import itertools
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from soak_clients import FAULTS, Question, Seen, Target, ask, endless
from soak_sampling import compared
from soak_watch import Kill, Watched, growth, recovery

SCORES = [0.25, -1.5]
Answer = Callable[[int], bytes | None]


def response(scores: list[float], status: str = "200 OK") -> bytes:
    body = json.dumps({"scores": scores}).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@contextmanager
def server(answer: Answer) -> Iterator[Target]:
    """Answers the n-th request with these bytes, or not at all."""
    count = itertools.count()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                length = 0
                while line.strip():
                    if line.lower().startswith(b"content-length"):
                        length = int(line.split()[1])
                    line = self.rfile.readline()
                self.rfile.read(length)
                sent = answer(next(count))
                if sent == b"":
                    return
                self.wfile.write(sent or b"")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as one:
        one.daemon_threads = True
        thread = threading.Thread(target=one.serve_forever, args=[0.01])
        thread.start()
        questions = itertools.repeat(Question(b'{"prompt": "Why?"}', SCORES))
        yield Target(one.server_address[1], "token", 0.2, 0.1, 0.5, questions)
        one.shutdown()
        thread.join()


def asked(answer: Answer, times: int = 1) -> Seen:
    seen = Seen()
    with server(answer) as target:
        connection = target.connection()
        for _ in range(times):
            ask(target, seen, connection)
        connection.close()
    return seen


def faults(seen: Seen) -> dict[str, int]:
    return {name: seen.counts[name] for name in FAULTS if seen.counts[name]}


def test_right_answers_are_no_fault() -> None:
    seen = asked(lambda _: response(SCORES), times=3)
    assert (seen.counts["requests"], seen.counts["answered"]) == (3, 3)
    assert not faults(seen)


@pytest.mark.parametrize("scores", [[0.25], [-1.5, 0.25], [0.25, -1.6], [*SCORES, 0.25]])
def test_the_scores_of_others_are_wrong(scores: list[float]) -> None:
    assert faults(asked(lambda _: response(scores))) == {"wrong": 1}


def test_only_models_that_may_answer_are_right() -> None:
    negative = response([-score for score in SCORES])
    assert faults(asked(lambda _: negative)) == {"wrong": 1}
    with server(lambda _: negative) as target:
        target.signs = (1, -1)
        seen = Seen()
        ask(target, seen, target.connection())
    assert not faults(seen)


def test_an_answer_given_twice_is_doubled() -> None:
    assert faults(asked(lambda _: 2 * response(SCORES))) == {"doubled": 1}


def test_what_is_refused_or_cut_off_is_asked_again() -> None:
    first = [response([], "503 Busy"), b"", response([], "500 Dead")]
    seen = asked(lambda n: first[n] if n < 3 else response(SCORES))
    assert seen.tries == {"503": 1, "cut off": 1, "500": 1}
    assert (seen.counts["requests"], seen.counts["answered"]) == (1, 1)
    assert not faults(seen)


def test_what_is_never_answered_is_lost() -> None:
    assert faults(asked(lambda _: response([], "503 Busy"))) == {"lost": 1}


def test_what_keeps_silent_hangs() -> None:
    seen = asked(lambda n: response(SCORES) if n else None)
    assert faults(seen) == {"hung": 1}
    assert seen.counts["answered"] == 1
    with server(lambda _: None) as target:
        seen = Seen()
        endless(target, seen, target.connection())
    assert faults(seen) == {"hung": 1}


def test_after_an_early_answer_to_a_slow_body_the_connection_is_not_used_again() -> None:
    early = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if early.is_set():
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(response(SCORES))
            early.set()
            self.wfile.write(response([], "503 Busy"))
            self.rfile.read(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as one:
        one.daemon_threads = True
        threading.Thread(target=one.serve_forever, args=[0.01]).start()
        questions = itertools.repeat(Question(b"x" * 400, SCORES))
        target = Target(one.server_address[1], "token", 2.0, 0.5, 5.0, questions)
        seen = Seen()
        ask(target, seen, target.connection(), seconds=1.0)
        one.shutdown()
    assert seen.tries == {"503": 1}
    assert seen.counts["answered"] == 1


def test_samples_that_are_missing_doubled_or_others_are_counted() -> None:
    whole: list[dict[str, Any]] = [{"row": row, "sample": 0, "response": "x"} for row in range(4)]
    assert not any(compared(whole, whole).values())
    other = [*whole[1:], whole[1], {**whole[0], "row": 9}]
    other[2] = {**whole[3], "response": "y"}
    assert compared(whole, other) == {"lost": 1, "doubled": 1, "wrong": 2}


def test_growth_is_within_processes() -> None:
    ages = np.arange(0, 600, 10.0)
    series = [np.stack([ages, level + 0.5 * ages / 60], axis=1) for level in (100, 300)]
    assert growth(series, 1) == "+0.50 ± 0.00"
    assert growth([one[:2] for one in series], 1) == "too short"


def test_recovery_counts_requests_that_began_after_the_kill() -> None:
    watched = Watched(kills=[Kill(10.0, 18.0), Kill(30.0, None)])
    spans = [(9.0, 11.0), (10.5, 16.0), (12.0, 15.0), (31.0, 31.5)]
    found = recovery(watched, spans)
    assert (found["kills"], found["replicas back"]) == (2, 1)
    assert (found["s to an answer"], found["most"], found["at most"]) == (3.25, 5.0, 8.0)
