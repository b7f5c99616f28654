from __future__ import annotations

import pytest
from pydantic import ValidationError

from more_ray.config import ObjectiveConfig, RunConfig
from more_ray.errors import UserError
from more_ray.train.comparison import compared_runs, train_all


def test_other_schemes_do_not_keep_the_weights_of_a_fixed_one() -> None:
    fixed = {"scheme": "fixed", "weights": {"a": 1.0, "b": 3.0}}
    config = RunConfig(objective=fixed, compare=["more", "proportional", "raw"])
    runs = compared_runs(config)
    assert list(runs) == ["fixed", "more", "proportional", "raw"]
    for name, run in runs.items():
        assert RunConfig.model_validate(run.model_dump()) == run
        assert run.output_dir.endswith(f"/{name}")
        weights = fixed["weights"] if name in ("fixed", "raw") else None
        assert run.objective.weights == weights
    assert runs["raw"].train.max_steps == 0


@pytest.mark.parametrize("compared", ["left_out", "single"])
def test_weights_of_other_sources_are_refused_before_any_run(
    compared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("more_ray.train.comparison.run", lambda config: pytest.fail("trained"))
    fixed = {"scheme": "fixed", "weights": {"population_1": 1}}
    with pytest.raises(UserError, match=r"objective\.weights: names \['population_1'\]; allowed"):
        train_all(RunConfig(objective=fixed, compare=[compared]))


def test_schemes_that_solve_nothing_are_not_debiased() -> None:
    config = RunConfig(objective={"debias": True}, compare=["uniform", "torchjd:MGDA", "raw"])
    debiased = {name: run.objective.debias for name, run in compared_runs(config).items()}
    assert debiased == {"more": True, "uniform": False, "torchjd:MGDA": True, "raw": True}


def test_a_changed_copy_is_checked() -> None:
    with pytest.raises(ValidationError, match=r"given exactly when objective\.scheme=fixed"):
        ObjectiveConfig(scheme="fixed", weights={"a": 1.0}).changed(scheme="more")
    copy = RunConfig(output_dir="x").changed(compare=["raw"])
    assert copy.model_fields_set == {"output_dir", "compare"}
