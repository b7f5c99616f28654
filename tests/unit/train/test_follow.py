from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError

from more_ray.errors import UserError
from more_ray.train.follow import followed


def test_a_dead_run_log_does_not_hide_why_a_run_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([{"evaluation": None, "phase": "training"}])
    asked = threading.Event()
    crashes: list[Any] = []

    def get(reference: None) -> Any:
        try:
            return next(states)
        except StopIteration:
            asked.set()
            raise ActorDiedError from None

    shown: list[Any] = []
    progress: Any = SimpleNamespace(show=lambda state, steps: shown.append(state["phase"]))
    run_log: Any = SimpleNamespace(state=SimpleNamespace(remote=lambda: None))
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(threading, "excepthook", crashes.append)

    def fail() -> None:
        with followed(run_log, progress, 10, lambda evaluation: None):
            assert asked.wait(30)
            raise UserError("training failed: a node was lost")

    with pytest.raises(UserError, match="training failed"):
        fail()
    assert shown == ["training"]
    assert not crashes
