"""Which values of a sweep decide what its trials read."""

from __future__ import annotations

from typing import Any

import pytest

from more_ray.config.sweep import SweepConfig
from more_ray.errors import UserError
from more_ray.sweep import inputs
from more_ray.sweep.inputs import known, make_known
from more_ray.sweep.space import points

RANGE = {"low": 0.1, "high": 0.2}


def made(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> int:
    """How many different inputs are made before the first trial."""
    runs: list[Any] = []
    monkeypatch.setattr(inputs, "make_inputs", runs.append)
    config = SweepConfig.model_validate(settings)
    make_known(config, known(config) if config.search == "optuna" else points(config))
    return len(runs)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"optimizer.lr": [1e-4, 1e-3], "train.seed": [0, 1]}, 1),
        ({"data.max_pairs": [100, 200], "train.seed": [0, 1]}, 2),
        ({"objective.labels": ["hard", "soft"]}, 2),
        ({"objective": [{"labels": "hard"}, {"labels": "soft"}]}, 2),
        ({"train": [{"precision": "fp32"}, {"precision": "bf16"}]}, 2),
        ({"model.drift_decay": [0.1, 1.0], "data.resample": [True, False]}, 1),
        ({"model.layers": [1, 2], "data.max_length": [64, 128]}, 4),
    ],
)
def test_each_is_made_once(
    space: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made(monkeypatch, space=space) == expected


def test_a_random_search_makes_what_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"search": "random", "trials": 3, "space": {"data.test_fraction": RANGE}}
    assert made(monkeypatch, **settings) == 3


def test_optuna_makes_what_is_listed_unless_it_draws_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = {"data.max_pairs": [100, 200], "model.drift_decay": RANGE}
    assert made(monkeypatch, search="optuna", space=listed) == 2
    assert made(monkeypatch, search="optuna", space={"data.test_fraction": RANGE}) == 0


def test_a_path_that_is_not_there_is_said_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UserError, match="cannot load /nowhere/model"):
        made(monkeypatch, space={"model.path": ["tiny", "/nowhere/model"]})
