"""The points of a sweep."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from more_ray.config.sweep import SweepConfig, trial_config
from more_ray.errors import UserError
from more_ray.sweep.space import combinations, decoded, points, trial_name


def sweep(**changes: Any) -> SweepConfig:
    run = {"data": {"simulator": {"sources": 4}}}
    return SweepConfig.model_validate({"run": run, **changes})


def test_the_chain_and_the_subsets() -> None:
    names = [f"population_{number}" for number in range(1, 5)]
    chain = combinations(sweep(sources="chain"))
    assert [json.loads(one) for one in chain] == [names[:size] for size in (2, 3, 4)]
    assert len(combinations(sweep(sources="subsets", sizes=[2]))) == 6
    alone = combinations(sweep(sources="chain", sizes=[4], singles=True))
    assert [json.loads(one) for one in alone] == [*([name] for name in names), names]
    assert combinations(sweep()) == []


def test_sources_and_sizes_that_there_are_not() -> None:
    with pytest.raises(UserError, match=r"sizes: \[5\] given; there are 4 sources"):
        combinations(sweep(sources="chain", sizes=[5]))
    with pytest.raises(UserError, match="sources: no source other; there are population_1"):
        combinations(sweep(sources=[["population_1", "other"]]))


def test_a_grid_has_every_point_once() -> None:
    space = {"optimizer.lr": [1e-4, 1e-3], "train.seed": [0, 1, 0]}
    grid = points(sweep(sources="chain", space=space))
    assert len(grid) == 3 * 2 * 2
    assert len({trial_name(point) for point in grid}) == 12
    assert decoded(grid[0])["data.train_on"] == ["population_1", "population_2"]


def test_random_points_are_the_same_at_every_call_and_in_range() -> None:
    space = {"optimizer.lr": {"low": 1e-5, "high": 1e-2, "log": True}, "train.seed": [0, 1]}
    config = sweep(search="random", trials=20, space=space)
    drawn = points(config)
    assert drawn == points(config)
    assert len(drawn) == 20
    assert all(1e-5 <= point["optimizer.lr"] <= 1e-2 for point in drawn)
    assert drawn != points(config.changed(seed=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"optimizer.rate": [1]}}, "space.optimizer.rate: no such key of a run"),
        ({"space": {"optimizer.lr": [-1]}}, "space.optimizer.lr: got -1, allowed: float > 0"),
        ({"space": {"optimizer.lr": []}}, "at least one value"),
        ({"space": {"output_dir": ["a"]}}, "cannot be swept"),
        ({"space": {"data.train_on": [["a"]]}}, "`sources` sweeps what to train on"),
        ({"space": {"optimizer.lr": {"low": 1e-4, "high": 1e-3}}}, "needs search=random or optuna"),
        ({"space": {"optimizer.lr": {"low": 1, "high": 0}}, "search": "random"}, "low < high"),
        ({"search": "optuna", "space": {"train.seed": [0]}}, "optuna needs a range"),
        ({"space": {"train.workers": [1, 2]}}, "space.train.workers: cannot be swept"),
        (
            {"space": {"data.simulator.pairs": {"low": 10, "high": 100}}, "search": "random"},
            r"space\.data\.simulator\.pairs: got 38\.6.*, allowed: int >= 2 or",
        ),
        (
            {"space": {"train.accumulation": [1, 4], "train.eval_every": [6]}},
            "a multiple of train.accumulation",
        ),
        (
            {"run": {"train": {"workers": 2, "min_workers": 1}}},
            "run.train.min_workers: a trial waits",
        ),
        ({"early_stopping": True}, "early_stopping: needs run.train.eval_every"),
        ({"space": {"model.lora.rang": [8]}}, r"space\.model\.lora\.rang: no such key of a run"),
        ({"space": {"train.max_steps.most": [8]}}, "max_steps.most: no such key of a run"),
        (
            {"space": {"train.zero_stage": [3], "train.compile": [True]}},
            r"Value error, space\.train\.compile: needs train\.zero_stage 0, 1 or 2 \[",
        ),
        ({"sizes": [2]}, "sizes: needs sources=chain or subsets"),
        ({"sizes": [2], "sources": [["a", "b"]]}, "sizes: needs sources=chain or subsets"),
        ({"sources": [["a"], []]}, "sources: got an empty combination"),
    ],
)
def test_what_cannot_be_swept(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        sweep(**changes)


def test_points_are_checked_as_wholes() -> None:
    sweep(space={"train.zero_stage": [1, 2], "train.offload": [True]})


def test_a_trial_is_the_run_with_its_values() -> None:
    run = trial_config(sweep().run, {"optimizer.lr": 0.5, "data.simulator.pairs": 7})
    assert (run.optimizer.lr, run.data.simulator.pairs, run.data.simulator.sources) == (0.5, 7, 4)


def test_a_key_of_a_section_that_is_unset() -> None:
    space = {"model.lora.rank": [8, 16]}
    lora = trial_config(sweep(space=space).run, {"model.lora.rank": 8}).model.lora
    assert lora is not None
    assert (lora.rank, lora.alpha) == (8, 32)


@given(st.dictionaries(st.text(min_size=1), st.text() | st.floats() | st.integers(), max_size=4))
def test_a_trial_has_a_folder_name_that_is_its_own(point: dict[str, Any]) -> None:
    name = trial_name(point)
    assert 7 <= len(name) <= 87
    assert not set(name) & set("/\\: \n")
    assert trial_name({**point, "more": 1}) != name
