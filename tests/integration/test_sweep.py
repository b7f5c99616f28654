"""Sweeps on real Ray Tune: side by side, and what is refused; longer ones are in `tests/slow`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray import tune
from support import MakeConfig, write_lines

from more_ray.config.base import dump
from more_ray.config.sweep import SweepConfig
from more_ray.errors import UserError
from more_ray.sweep.analysis import read_sweep
from more_ray.sweep.run import run_sweep

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("cluster")]
MakeSweep = Callable[..., SweepConfig]


@pytest.fixture
def sweep(small_config: MakeConfig, tmp_path: Path) -> MakeSweep:
    def make(run: dict[str, Any] | None = None, **changes: Any) -> SweepConfig:
        base = small_config(tmp_path / "unused", **(run or {})).model_dump()
        return SweepConfig.model_validate(
            {"output_dir": str(tmp_path / "sweep"), "run": base, **changes}
        )

    return make


def test_two_at_a_time_and_one_that_fails(sweep: MakeSweep) -> None:
    config = sweep(
        sources=[["population_1", "population_3"]],
        space={"train.pairs_per_source": [1, 8]},  # 2 pairs are too few for the workers
        run={"train": {"workers": 3, "max_steps": 2}},
        concurrent=2,
        max_failures=0,
    )
    failed = run_sweep(config)
    assert list(failed) == [
        "data.train_on=['population_1', 'population_3'], train.pairs_per_source=1"
    ]
    assert "3 workers need at least one pair each" in next(iter(failed.values()))
    table = read_sweep(config.output_dir)
    assert table["K"].unique().tolist() == [2]
    assert table[table["own"]]["source"].tolist() == ["population_1", "population_3", "mean"]

    (experiment,) = (Path(config.output_dir) / "tune").iterdir()
    by_tune = read_sweep(tune.ExperimentAnalysis(str(experiment)))
    pd.testing.assert_frame_equal(by_tune, table, check_dtype=False)


def test_more_than_the_cluster_has_is_said_at_once(sweep: MakeSweep) -> None:
    message = r"concurrent: 9 at a time with train\.workers=2 need 19 CPUs; the cluster has 8"
    with pytest.raises(UserError, match=message):
        run_sweep(sweep(run={"train": {"workers": 2}}, concurrent=9))


def test_another_sweep_in_the_same_folder(sweep: MakeSweep) -> None:
    config = sweep(space={"train.seed": [0]})
    Path(config.output_dir).mkdir()
    (Path(config.output_dir) / "sweep.yaml").write_text(dump(config))
    with pytest.raises(UserError, match=r"holds a sweep with space\."):
        run_sweep(sweep(space={"train.seed": [1]}))


@pytest.mark.parametrize(
    ("rates", "search"),
    [
        ([1e-3], {}),
        ({"low": 1e-3, "high": 2e-3}, {"search": "optuna", "trials": 1}),
    ],
)
def test_trials_that_ended_are_of_the_data_that_is_there(
    rates: Any, search: dict[str, Any], sweep: MakeSweep, tmp_path: Path
) -> None:
    def write(word: str) -> None:
        for name in ("a", "b"):
            lines = [
                {"prompt": f"{n}?", "chosen": f"{word} {n}.", "rejected": f"No, {n}."}
                for n in range(40)
            ]
            write_lines(tmp_path / f"{name}.train.jsonl", lines)

    write("Yes")
    data = {"root": str(tmp_path), "test_fraction": 0.2}
    train = {"max_steps": 1, "precision": "fp32"}
    config = sweep(
        run={"data": data, "model": {"trunk": "frozen"}, "train": train},
        space={"optimizer.lr": rates},
        **search,
    )
    assert not run_sweep(config)
    assert not run_sweep(config)
    write("Well")
    with pytest.raises(UserError, match=r"holds a run on other data: pairs of a have changed"):
        run_sweep(config)


@pytest.mark.parametrize(
    ("space", "search"),
    [
        ({"objective.labels": ["soft"]}, {}),
        ({"data.test_fraction": {"low": 0.1, "high": 0.2}}, {"search": "optuna", "trials": 1}),
    ],
)
def test_data_and_hidden_states_that_were_not_there(
    space: dict[str, Any], search: dict[str, Any], sweep: MakeSweep
) -> None:
    config = sweep(
        sources=[["population_1", "population_3"]],
        space=space,
        run={"model": {"trunk": "frozen"}, "train": {"max_steps": 2, "precision": "fp32"}},
        max_failures=0,
        **search,
    )
    assert not run_sweep(config)
