"""Settings as a caller in Python gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from more_ray.config import (
    DataConfig,
    EvaluationConfig,
    FineTuneConfig,
    ModelConfig,
    PairsRunConfig,
    RunConfig,
)
from more_ray.config.reading import settings
from more_ray.errors import UserError

LR = {"optimizer.lr": 1e-4}


def test_a_file_a_dict_and_a_config_are_the_same(tmp_path: Path) -> None:
    tree = {"data": {"simulator": {"pairs": 200}}, "output_dir": "x"}
    file = tmp_path / "run.yaml"
    file.write_text("data: {simulator: {pairs: 200}}\noutput_dir: x\n")
    expected = RunConfig.model_validate(tree | {"optimizer": {"lr": 1e-4}})
    for given in (file, str(file), tree, RunConfig.model_validate(tree)):
        assert settings(RunConfig, given, LR) == expected
    assert settings(RunConfig, None, tree | LR) == expected
    assert settings(RunConfig, {"output_dir": "x", "data.simulator.pairs": 200}, LR) == expected


def test_a_config_without_changes_is_taken_as_it_is() -> None:
    config = PairsRunConfig()
    assert settings(RunConfig, config, {}) is config
    assert type(settings(PairsRunConfig, RunConfig(), {})) is PairsRunConfig


def test_changes_keep_what_else_a_section_says() -> None:
    given = RunConfig(data=DataConfig(root="r", max_length=100))
    changed = settings(RunConfig, given, {"data": {"max_length": 50}})
    assert (changed.data.root, changed.data.max_length) == ("r", 50)
    changed = settings(RunConfig, None, {"data": given.data, "data.max_length": 50})
    assert (changed.data.root, changed.data.max_length) == ("r", 50)


def test_presets_hold_until_a_config_says_otherwise() -> None:
    assert not settings(FineTuneConfig, FineTuneConfig(), {"data.root": "r"}).data.resample
    given = FineTuneConfig(data=DataConfig(root="r"))
    assert given.data.resample
    assert settings(FineTuneConfig, given, {"data.max_length": 50}).data.resample


def test_what_was_not_set_stays_so() -> None:
    given = EvaluationConfig(model=ModelConfig(path="m"), data=DataConfig(root="r"))
    changed = settings(EvaluationConfig, given, {"data.seed": 3})
    assert "test_fraction" not in changed.data.model_fields_set  # which an evaluation asks


@pytest.mark.parametrize(
    ("given", "changes", "message"),
    [
        ("none.yaml", {}, "none.yaml: No such file or directory"),
        ({"optimiser": {}}, {}, "optimiser: unknown key, nearest known key: optimizer"),
        (None, {"lr": 1}, "lr: unknown key, nearest known key: optimizer.lr"),
        (None, {"optimizer.lr": 0}, "optimizer.lr: got 0, allowed: float > 0"),
        (None, {"data": 3}, "data: got 3, allowed: section"),
        ({1: 2}, {}, "1: unknown key, --help lists the known keys"),
        (ModelConfig(path="m"), {}, "path: unknown key, nearest known key: model.path"),
    ],
)
def test_a_mistake_is_one_line(given: Any, changes: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        settings(RunConfig, given, changes)
    assert str(error.value) == message


def test_of_a_required_section_its_first_key_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"^model\.path: required, allowed: str$"):
        settings(EvaluationConfig, None, {})
