"""What a run says, and begins with, before its data is prepared."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from more_ray import api
from more_ray.config import RunConfig
from more_ray.errors import UserError
from more_ray.train import run as runs
from more_ray.train import trackers


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The runs whose data would have been prepared."""
    seen: list[RunConfig] = []
    monkeypatch.setattr("more_ray.cluster.session", lambda *given: nullcontext())
    monkeypatch.setattr(runs, "prepare_data", lambda config, progress: seen.append(config))
    return seen


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"log": {"mlflow": "http://here"}}, r"log\.mlflow: pip install mlflow first"),
        (
            {"objective": {"scheme": "fixed", "weights": {"a": 1}}},
            r"objective\.weights: names \['a'\]; allowed are exactly \['population_1', ",
        ),
    ],
)
def test_mistakes_are_told(
    given: dict[str, Any],
    said: str,
    prepared: list[RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    config = RunConfig.model_validate({"output_dir": str(tmp_path), **given})
    with pytest.raises(UserError, match=said):
        runs.run(config)
    assert not prepared


def test_the_tokenizer_is_that_of_the_model_it_starts_from(
    prepared: list[RunConfig], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").touch()
    api.prepare(init_from=str(tmp_path))
    assert [config.model.path for config in prepared] == [str(model)]
