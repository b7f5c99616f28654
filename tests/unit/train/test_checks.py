"""A run goes on with what it began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from more_ray.config import RunConfig
from more_ray.data.mixture import Mixture
from more_ray.data.prepared import Prepared
from more_ray.errors import UserError
from more_ray.train.checks import check_batch, check_inputs, check_pairs, inputs_of


def prepared(digest: str | None) -> Prepared:
    count: dict[str, Any] = {"train": 9, "test": 9}
    if digest:
        count["digest"] = {"train": digest, "test": "same"}
    manifest: Any = {"sources": {"population_1": count}}
    return Prepared("folder", manifest)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    return RunConfig(
        output_dir=str(tmp_path / "run"),
        model={"path": str(model)},
        data={"simulator": {"sources": 1}},
    )


def note(config: RunConfig, inputs: dict[str, Any]) -> None:
    folder = Path(config.output_dir)
    folder.mkdir(exist_ok=True)
    (folder / "environment.json").write_text(json.dumps(inputs))


def test_a_run_goes_on_with_the_same_inputs(config: RunConfig) -> None:
    inputs = inputs_of(config, prepared("a"))
    check_inputs(config, inputs)  # a new one
    note(config, inputs)
    check_inputs(config, inputs)


@pytest.mark.parametrize("noted", [{}, {"data": {"population_1": {"train": 9}}}])
def test_what_earlier_versions_did_not_note_is_not_asked_for(
    config: RunConfig, noted: dict[str, Any]
) -> None:
    note(config, noted)
    check_inputs(config, inputs_of(config, prepared("a")))
    note(config, inputs_of(config, prepared("a")))
    check_inputs(config, inputs_of(config, prepared(None)))


def test_as_many_other_pairs_are_other_data(config: RunConfig) -> None:
    note(config, inputs_of(config, prepared("a")))
    with pytest.raises(UserError) as refused:
        check_inputs(config, inputs_of(config, prepared("b")))
    assert str(refused.value) == (
        f"output_dir: {config.output_dir} holds a run on other data: pairs of population_1 have "
        "changed; choose another folder or delete this one"
    )


def test_another_model_at_the_same_path(config: RunConfig) -> None:
    note(config, inputs_of(config, prepared("a")))
    Path(config.model.path, "config.json").write_text('{"trained": "again"}')
    with pytest.raises(UserError, match=r"a run of another model than model\.path is now \(/"):
        check_inputs(config, inputs_of(config, prepared("a")))


def test_numbers_of_pairs_that_have_changed(tmp_path: Path) -> None:
    before = {"training_pairs": {"a": 9, "b": 9}}
    (tmp_path / "environment.json").write_text(json.dumps(before))
    check_pairs(str(tmp_path), before)
    check_pairs(str(tmp_path), {**before, "test_pairs": {"a": 3}})  # earlier versions: not noted
    for now, kind in (
        ({"training_pairs": {"a": 9}}, "training pairs of b"),
        ({"training_pairs": {"a": 9, "b": 8}}, "training pairs of b"),
        ({**before, "training_records": {"a": 3}}, "training records of a"),
    ):
        with pytest.raises(UserError, match=f"the number of {kind} has changed"):
            check_pairs(str(tmp_path), now)


def test_a_pair_for_each_worker_is_enough() -> None:
    def checked(workers: int) -> None:
        config = RunConfig(train={"workers": workers, "pairs_per_source": 1})
        check_batch(config, Mixture(("a", "b"), (9, 9), 1, 1, True, 0))

    checked(2)
    with pytest.raises(UserError, match="3 workers need at least one pair each"):
        checked(3)
