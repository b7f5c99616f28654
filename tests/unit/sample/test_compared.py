"""What each population gains by each rule, from scored samples alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from more_ray.config.sample import SelectConfig
from more_ray.sample.compared import compare_choices
from more_ray.sample.schemas import SCORED_SCHEMA
from more_ray.sample.scored import with_names
from more_ray.sample.selection import select_again

NAMES = ("ours", "theirs")
PROMPTS, SAMPLES = 6, 4


def table(sources: bool = True, posterior: bool = True) -> pa.Table:
    """Random scores; one answer of the first prompt is empty, and all of the last."""
    rng = np.random.default_rng(0)
    rows = []
    for row in range(PROMPTS):
        for sample in range(SAMPLES):
            empty = row == PROMPTS - 1 or (row == 0 and sample == 1)
            score, *rewards = rng.standard_normal(3).tolist()
            deviations = rng.random(3).tolist()
            rows.append(
                {
                    "row": row,
                    "prompt": [],
                    "sample": sample,
                    "response": "" if empty else f"answer {sample}",
                    "tokens": 1,
                    "finished": True,
                    "score": None if empty else score,
                    "rewards": None if empty or not sources else rewards,
                    "deviations": None if empty or not posterior else deviations,
                    "duplicate": False,
                    "selected": False,
                }
            )
    return pa.Table.from_pylist(rows, with_names(SCORED_SCHEMA, NAMES if sources else ()))


def by_hand(samples: pa.Table, choice: SelectConfig, value: str, source: int) -> list[float]:
    """For each prompt with an answer: the chosen answer's value less the mean of the answers'."""
    rows = select_again(samples, choice).to_pylist()
    found = []
    for row in range(PROMPTS - 1):
        known = [one for one in rows if one["row"] == row and one["response"]]
        values = [one[value] if value == "score" else one[value][source] for one in known]
        (best,) = [at for at, one in enumerate(known) if one["selected"]]
        found.append(values[best] - np.mean(values))
    return found


@pytest.mark.parametrize("caution", [0.0, 1.5])
def test_gains_are_those_of_what_would_be_chosen(caution: float) -> None:
    samples = table()
    rows: list[dict[str, Any]] = compare_choices(samples, SelectConfig(caution=caution))["choices"]
    rules = ["shared", "source=ours", "source=theirs", "worst", "mean", "nash"]
    assert [(one["by"], one["caution"]) for one in rows] == [
        (rule, level) for level in sorted({0.0, caution}) for rule in rules
    ]
    for one in rows:
        choice = SelectConfig(by=one["by"], caution=one["caution"])
        expected = by_hand(samples, choice, "score", 0)
        assert one["shared"]["mean"] == pytest.approx(np.mean(expected), abs=1e-6)
        assert one["shared"]["n"] == PROMPTS - 1
        both = [by_hand(samples, choice, "rewards", source) for source in range(2)]
        for name, gain_P in zip(NAMES, both, strict=True):
            assert one["sources"][name]["mean"] == pytest.approx(np.mean(gain_P), abs=1e-6)
        least = np.mean(np.min(both, axis=0))
        assert one["least"]["mean"] == pytest.approx(least, abs=1e-6)


def test_the_curve_goes_from_nothing_to_the_choice() -> None:
    found = compare_choices(table(), SelectConfig(by="worst"))
    curve = found["best_of"]
    assert (curve["by"], curve["n"]) == ("worst", [1, 2, 4])
    assert curve["sources"]["ours"][0]["mean"] == pytest.approx(0)
    (end,) = [one for one in found["choices"] if one["by"] == "worst"]
    assert curve["sources"]["theirs"][-1] == end["sources"]["theirs"]
    assert curve["least"][-1] == end["least"]


def test_a_model_with_one_head_has_one_rule() -> None:
    found = compare_choices(table(sources=False, posterior=False), SelectConfig())
    assert [one["by"] for one in found["choices"]] == ["shared"]
    assert found["best_of"]["sources"] == {}
    assert "least" not in found["best_of"]


def test_without_answers_there_is_nothing_to_compare() -> None:
    samples = table().slice((PROMPTS - 1) * SAMPLES)
    assert compare_choices(samples, SelectConfig()) == {"choices": [], "best_of": None}
