"""Accuracy on the pairs a model is surest of, and by which answer is longer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from more_ray.metrics.intervals import wilson
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import summarise
from more_ray.metrics.written import with_interval
from more_ray.report.length_bias import length_bias
from more_ray.report.models import Model, RunFiles
from more_ray.report.surest import surest_rows

PAIRS = 200


def scored(delta_N: Any, longer_N: Any = 0, **labels: Any) -> SourceScores:
    """Pairs whose chosen answer has so many characters more."""
    pairs = len(delta_N)
    length_N = 50 + np.zeros(pairs, int)
    return SourceScores(
        np.arange(pairs), delta_N, np.zeros(pairs), length_N + longer_N, length_N, **labels
    )


def of_scores(scores: dict[str, SourceScores]) -> Model:
    evaluation = summarise(scores, "more", 9, seed=0, resamples=50)
    return Model("MORE", [RunFiles("MORE", evaluation, scores, [], None, None, None)], evaluation)


def values(model: Model) -> dict[str, float]:
    (row,) = surest_rows([model])
    return {column: float(cell.split()[0]) for column, cell in row.items() if column != "model"}


def right_where_sure() -> np.ndarray:
    """The larger the difference, the surer: right on the surer half, wrong on the other."""
    size_N = np.linspace(0.1, 3, PAIRS)
    return np.where(np.arange(PAIRS) >= PAIRS // 2, size_N, -size_N)


def test_the_surest_pairs_of_each_source() -> None:
    """In one source all that is sure is right, in the other all is wrong: 0.5 in the mean."""
    delta_N = right_where_sure()
    assert values(of_scores({"ours": scored(delta_N)})) == {
        "surest 10%": 1.0,
        "surest 20%": 1.0,
        "surest 50%": 1.0,
        "all": 0.5,
    }
    both = of_scores({"ours": scored(delta_N), "theirs": scored(-3 * np.abs(delta_N))})
    assert values(both) == {
        "surest 10%": 0.5,
        "surest 20%": 0.5,
        "surest 50%": 0.5,
        "all": 0.25,
    }


def test_all_pairs_have_the_accuracy_of_the_other_tables() -> None:
    """Also with votes, of which some are against the answer called chosen, or tie, and weights."""
    rng = np.random.default_rng(0)
    labels = {"share_N": rng.choice([0.2, 0.5, 1.0], PAIRS), "weight_N": rng.random(PAIRS)}
    model = of_scores({"ours": scored(rng.normal(size=PAIRS), **labels)})
    assert values(model)["all"] == pytest.approx(model.evaluation["mean"]["accuracy"], abs=0.005)


def test_votes_against_the_chosen_answer_make_the_model_wrong() -> None:
    delta_N = right_where_sure()
    against = scored(delta_N, share_N=np.full(PAIRS, 0.2))
    assert values(of_scores({"ours": against}))["surest 50%"] == 0.0


@pytest.mark.parametrize("flipped", [False, True])
def test_a_model_that_leans_to_the_longer_answer(flipped: bool) -> None:
    """Also where votes say that the answer called rejected is the better one."""
    side_N = np.where(np.arange(PAIRS) % 2, 1, -1)
    delta_N = np.where(np.arange(PAIRS) % 10 < 8, side_N, -side_N).astype(float)
    labels = {"share_N": np.full(PAIRS, 0.0)} if flipped else {}
    sign = -1 if flipped else 1
    assert length_bias([scored(sign * delta_N, sign * side_N, **labels)]) == (
        "It leans to the longer answer: it is right on 80% of the pairs whose longer answer people "
        "chose, on 20% of the others."
    )


def test_no_bias_where_chance_explains_it() -> None:
    delta_N = np.where(np.arange(PAIRS) % 4 < 2, 1.0, -1.0)
    assert length_bias([scored(delta_N, np.where(np.arange(PAIRS) % 2, 1, -1))]) is None
    assert length_bias([scored(delta_N, 1)]) is None


def test_sources_that_differ_in_accuracy_and_in_length_are_no_bias() -> None:
    number_N = np.arange(PAIRS)
    easy = scored(np.where(number_N % 10, 1.0, -1.0), np.where(number_N % 4 < 3, 1, -1))
    hard = scored(np.where(number_N % 2, 1.0, -1.0), np.where(number_N // 2 % 4 < 3, -1, 1))
    assert length_bias([easy, hard]) is None


def test_a_pair_is_as_sure_as_its_difference_is_large_whatever_its_sign() -> None:
    delta_N = np.concatenate([np.ones(100), -3 * np.ones(100)])
    assert values(of_scores({"ours": scored(delta_N)}))["surest 10%"] == 0.0


def test_a_share_of_few_pairs_is_one_at_least() -> None:
    assert values(of_scores({"ours": scored(np.ones(3))}))["surest 10%"] == 1.0


def test_intervals_are_of_the_pairs_of_one_seed_that_are_no_tie() -> None:
    size_N = np.where(np.arange(100) % 2, 1.0, -1.0)
    sources = {name: scored(size_N) for name in ("ours", "theirs")}
    one = of_scores(sources)
    two = replace(one, runs=[*one.runs, *one.runs])
    expected = with_interval(0.5, wilson(0.5, 200), ".2f")
    assert surest_rows([one])[0]["all"] == surest_rows([two])[0]["all"] == expected
    share_N = np.where(np.arange(100) < 40, 0.5, 1.0)
    (tied,) = surest_rows([of_scores({"ours": scored(size_N, share_N=share_N)})])
    assert tied["all"] == with_interval(0.5, wilson(0.5, 60), ".2f")
