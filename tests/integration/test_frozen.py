"""Heads trained on hidden states that stay as they are, from the settings to the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import read_lines, scores

from more_ray.config import EvaluationConfig, ModelConfig, RunConfig, SweepConfig
from more_ray.errors import UserError
from more_ray.evaluate.run import evaluate
from more_ray.evaluate.temperature import model_temperature
from more_ray.report.models import read_models
from more_ray.report.run_page import render_page
from more_ray.sweep.run import run_sweep
from more_ray.train.comparison import train_all
from more_ray.train.run import run

pytestmark = pytest.mark.integration

NAMES = [f"population_{number}" for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def config(
    cluster: None, prepared_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> RunConfig:
    """Two populations to train on, a third that is only evaluated."""
    folder = tmp_path_factory.mktemp("frozen")
    return RunConfig.model_validate(
        {
            "output_dir": str(folder / "runs"),
            "compare": ["drift", "left_out"],
            "model": {"trunk": "frozen"},
            "optimizer": {"lr": 1e-2},
            "data": {
                "simulator": {"sources": 3, "pairs": 200, "test_pairs": 60, "drift": 2.0},
                "prepared": prepared_folder,
                "train_on": NAMES[:2],
            },
            # Another seed than the trunk is made with.
            "train": {"epochs": 4, "seed": 3, "features": str(folder / "features")},
        }
    )


@pytest.fixture(scope="module")
def folders(config: RunConfig) -> list[Path]:
    return [Path(folder) for folder in train_all(config)]


def evaluation(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "eval.json").read_text())


def test_the_exported_model_scores_as_the_heads_were_trained(
    config: RunConfig, folders: list[Path], tmp_path: Path
) -> None:
    model = ModelConfig(path=str(folders[0] / "model"))
    evaluate(EvaluationConfig(model=model, data=config.data, output_dir=str(tmp_path)))
    np.testing.assert_allclose(scores(tmp_path), scores(folders[0]), rtol=0, atol=1e-5)
    lines = read_lines(folders[0] / "metrics.jsonl")
    assert len(lines) == evaluation(folders[0])["step"] == 50
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_people_gain_by_drifts_of_their_own(folders: list[Path]) -> None:
    more, drift = (evaluation(folder) for folder in folders[:2])
    for name in NAMES[:2]:
        assert drift["sources"][name]["nll"] < more["sources"][name]["nll"]
    # Nobody trained on the third: its head is the shared one.
    assert drift["sources"][NAMES[2]] == drift["shared"]["sources"][NAMES[2]]


def test_a_temperature_is_that_of_the_head_that_is_served(folders: list[Path]) -> None:
    path = str(folders[1] / "model")
    shared, _ = model_temperature(ModelConfig(path=path))
    own, _ = model_temperature(ModelConfig(path=path, source=NAMES[0]))
    halves = [one["temperature"] for one in evaluation(folders[1])["shared"]["sources"].values()]
    assert shared == pytest.approx(np.exp(np.mean(np.log(halves))))
    of_own = evaluation(folders[1])["sources"][NAMES[0]]["temperature"]
    assert own == pytest.approx(of_own, rel=0.5)
    assert own != pytest.approx(shared, rel=1e-3)


def test_each_source_is_left_out_once(folders: list[Path]) -> None:
    found = evaluation(folders[2])
    assert list(found["sources"]) == NAMES
    without_first = evaluation(folders[2].parent / "without" / NAMES[0])
    assert found["sources"][NAMES[0]] == without_first["sources"][NAMES[0]]
    assert found["sources"][NAMES[2]]["nll"] == evaluation(folders[0])["sources"][NAMES[2]]["nll"]


def test_the_page_tells_the_models_apart(folders: list[Path]) -> None:
    models = read_models([str(folder) for folder in folders])
    names = [model.name for model in models]
    assert names[1] == f"shared + drift on {', '.join(NAMES[:2])}"
    assert len(set(names)) == 3
    assert "shared head" in render_page([models[1]])


def test_a_sweep_computes_hidden_states_once(config: RunConfig, tmp_path: Path) -> None:
    base = config.changed(
        compare=[], train=config.train.changed(features=str(tmp_path / "features"), max_steps=5)
    )
    sweep = SweepConfig(
        output_dir=str(tmp_path / "sweep"), run=base, space={"train.seed": [0, 1]}, concurrent=1
    )
    assert not run_sweep(sweep)
    parts = list((tmp_path / "features").rglob("*.parquet"))
    assert len(parts) == 6  # train and test of three sources
    assert len({part.parent for part in parts}) == 1


def test_nothing_is_left_without_a_source(config: RunConfig, tmp_path: Path) -> None:
    one = config.changed(
        output_dir=str(tmp_path / "runs"), data=config.data.changed(train_on=NAMES[:1])
    )
    with pytest.raises(UserError, match="compare: left_out needs two sources or more; there"):
        train_all(one)
    weights = {NAMES[0]: 1.0, NAMES[1]: 0.0}
    fixed = config.changed(
        output_dir=str(tmp_path / "fixed"),
        objective=config.objective.changed(scheme="fixed", weights=weights),
    )
    with pytest.raises(UserError, match=r"left_out without population_1: .*above 0"):
        train_all(fixed)
    assert not (tmp_path / "fixed").exists()


def test_a_finished_run_returns_at_once(config: RunConfig, folders: list[Path]) -> None:
    again = config.changed(output_dir=str(folders[0]), compare=[])
    before = (folders[0] / "scores.parquet").stat().st_mtime_ns
    assert "frozen trunk" in (folders[0] / "model" / "README.md").read_text()
    assert run(again) == evaluation(folders[0])
    assert (folders[0] / "scores.parquet").stat().st_mtime_ns == before
