from __future__ import annotations

import pytest

from more_ray.config import RunConfig
from more_ray.train import trackers


def test_scalars_have_names_with_slashes() -> None:
    line = {"step": 3, "loss": 0.5, "lam": {"a": 0.25, "b": 0.75}, "cosine": [[1.0]]}
    assert trackers.scalars(line) == {"loss": 0.5, "lam/a": 0.25, "lam/b": 0.75}


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig.model_validate({"log": {"wandb": "project"}})
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    assert trackers.missing_tracker(config) == "wandb"
    assert trackers.missing_tracker(RunConfig()) is None
