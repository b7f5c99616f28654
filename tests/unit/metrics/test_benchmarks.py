"""Metrics of test sets, against cases worked out by hand and the benchmarks' own formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from more_ray.metrics.benchmarks import (
    STYLES,
    Kind,
    Scored,
    best_of_n,
    style_shares,
    summarise_benchmark,
    tie_score,
)
from more_ray.metrics.calibration import ece, nll

# Few values, so that ties are common; multiples of 1/4 stay exact under 4 x + 1.
SCORE = st.integers(-8, 8).map(lambda number: number / 4)
ANSWERS = st.lists(SCORE, min_size=1, max_size=5).map(np.array)
THREE = st.lists(SCORE, min_size=3, max_size=3).map(np.array)


def question(
    right: Any, wrong: Any, subset: str | None = None, name: str = "0", group: str = ""
) -> Scored:
    return Scored(name, group or name, subset, np.array(right, float), np.array(wrong, float))


def summary(kind: Kind, questions: list[Scored], lengths: list[Scored] | None = None) -> Any:
    return summarise_benchmark(kind, questions, lengths or questions, seed=0, resamples=100)


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ([2], [1, 0, -1], 1),
        ([1], [2, 0, -1], 0),
        ([1], [1, 0, -1], 1 / 2),
        ([1], [1, 1, 1], 1 / 4),
        ([1], [1, 2, 2], 0),
        ([0, 3], [2], 1),
        ([3, 3], [2], 1 / 2),
        ([3, 3], [3], 1 / 3),
    ],
)
def test_best_of_n_shares_a_maximum_that_is_tied(
    right: list[float], wrong: list[float], expected: float
) -> None:
    assert best_of_n(np.array(right), np.array(wrong)) == expected


@settings(deadline=None)
@given(ANSWERS, ANSWERS, st.randoms())
def test_best_of_n_depends_on_the_order_of_scores_alone(
    right_R: np.ndarray, wrong_W: np.ndarray, random: Any
) -> None:
    value = best_of_n(right_R, wrong_W)
    assert 0 <= value <= 1
    assert best_of_n(np.exp(right_R), np.exp(wrong_W)) == value
    shuffled = (
        random.sample(list(right_R), len(right_R)),
        random.sample(list(wrong_W), len(wrong_W)),
    )
    assert best_of_n(*map(np.array, shuffled)) == value


def test_the_matrix_of_styles_by_hand() -> None:
    """Right: concise 1, detailed 2, markdown 3; wrong: concise 0, detailed 2, markdown 5."""
    found = style_shares(np.array([1.0, 2, 3]), np.array([0.0, 2, 5]))
    matrix = [[found[f"{mine} over {other}"] for other in STYLES] for mine in STYLES]
    assert matrix == [[1, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert found["hard"] == 0
    assert found["normal"] == pytest.approx(1 / 3)
    assert found["easy"] == 1
    assert found["score"] == pytest.approx(4 / 9)


@settings(deadline=None)
@given(THREE, THREE)
def test_styles_are_compared_by_order_alone(right_R: np.ndarray, wrong_W: np.ndarray) -> None:
    found = style_shares(right_R, wrong_W)
    assert all(0 <= value <= 1 for value in found.values())
    assert found["score"] == pytest.approx((found["easy"] + found["normal"] + found["hard"]) / 3)
    assert style_shares(np.exp(right_R), np.exp(wrong_W)) == found


@pytest.mark.parametrize(
    ("tied", "reference", "expected"),
    [
        # The gap is 1.5, the spread 0.5, the reference's gap 0.2.
        (([3, 2.5], [1, 0]), ([2], [1.8]), 0.3 + 0.3 + 0.2 + 0.01 * np.tanh(0.2 / 0.5 - 1)),
        # The gap is 1.5, the reference's gap 2.
        (([3, 2.5], [1, 0]), ([2], [0]), 1 + 0.01 * np.tanh(1.5 / 0.5 - 1)),
        # The gap is -1, the spread 3.
        (([3, 0], [1]), ([2], [1]), 0.3 + 0.01 * np.tanh(-1 / 3 - 1)),
        # No spread: the ratio is infinite, or 0/0, which counts 0.
        (([3, 3], [1]), ([2], [1]), 1.01),
        (([1, 1], [3]), ([1], [2]), -0.01),
        (([1, 1], [1]), ([1], [0]), 0.3),
    ],
)
def test_the_score_of_ties_by_hand(tied: Any, reference: Any, expected: float) -> None:
    found = tie_score(question(*tied), question(*reference))
    assert found["score"] == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(ANSWERS, ANSWERS, SCORE, ANSWERS), min_size=1, max_size=6))
def test_ties_are_scored_as_reward_bench_does(questions: Any) -> None:
    """Its formula takes means over prompts first; scale and origin of the scores do not matter."""
    tied = [question(right, wrong) for right, wrong, _, _ in questions]
    reference = [question([right], wrong) for _, _, right, wrong in questions]
    found = [tie_score(*both)["score"] for both in zip(tied, reference, strict=True)]
    spread_N = np.array([one.right_R.max() - one.right_R.min() for one in tied])
    gap_N, reference_N = (
        np.array([one.right_R.min() - one.wrong_W.max() for one in part])
        for part in (tied, reference)
    )
    least_N = np.minimum(gap_N, reference_N)
    with np.errstate(divide="ignore", invalid="ignore"):
        margin_N = np.nan_to_num(np.tanh(least_N / spread_N - 1))
    expected = 0.3 * np.mean(gap_N > 0) + 0.3 * np.mean(reference_N > 0) + 0.01 * margin_N.mean()
    expected += 0.2 * np.mean(gap_N > spread_N) + 0.2 * np.mean(least_N > spread_N)
    assert np.mean(found) == pytest.approx(expected)
    assert all(-0.01 <= score <= 1.01 for score in found)
    moved = [
        tie_score(*(question(4 * one.right_R + 1, 4 * one.wrong_W + 1) for one in both))["score"]
        for both in zip(tied, reference, strict=True)
    ]
    assert moved == pytest.approx(found)


def test_best_of_n_means_subsets_and_ties_have_their_own_score() -> None:
    questions = [
        question([2], [1, 0, 0], "Math", "a"),
        question([1], [1, 0, 0], "Math", "b"),
        question([0], [1, 0, 0], "Math", "c"),
        question([0], [1, 0, 0], "Focus", "d"),
        question([3, 2.5], [1, 0], "Ties", "tied:7", "7"),
        question([2], [1.8], "Ties", "ref:7", "7"),
    ]
    found = summary("best_of_n", questions)
    math, focus, ties = (found["subsets"][name] for name in ("Math", "Focus", "Ties"))
    assert math["score"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert focus["score"] == 0
    assert ties["score"] == pytest.approx(0.8 + 0.01 * np.tanh(-0.6))
    assert (ties["tied_accuracy"], ties["least_gap_over_spread"]) == (1, 0)
    mean = np.mean([math["score"], focus["score"], ties["score"]])
    assert found["score"] == pytest.approx(mean)
    assert (found["n"], ties["n"]) == (6, 2)
    assert "ece" not in found


def test_an_interval_needs_more_than_one_group() -> None:
    found = summary("pairs", [question([1], [0], name=name, group="one") for name in "ab"])
    assert found["score_ci"] is None
    assert found["ece_ci"] is None
    assert summary("pairs", [question([1], [0], name=name) for name in "ab"])["score_ci"] == [1, 1]


def test_a_subset_of_one_question_takes_no_interval_from_the_others() -> None:
    several = [question([1], [0], name=name) for name in "ab"]
    found = summary("best_of_n", [*several, question([0], [1], "alone", name="c")])
    assert found["score"] == 0.5
    assert found["score_ci"] is not None
    assert found["subsets"]["alone"]["score_ci"] is None


def test_rm_bench_means_domains() -> None:
    right, wrong = [1, 2, 3], [0, 2, 5]
    questions = [question(right, wrong, "chat", str(number)) for number in range(3)]
    questions.append(question([9, 9, 9], [0, 0, 0], "math", "9"))
    found = summary("rm_bench", questions)
    assert found["hard"] == pytest.approx((0 + 1) / 2)
    assert found["score"] == pytest.approx((4 / 9 + 1) / 2)
    assert found["subsets"]["chat"]["normal"] == pytest.approx(1 / 3)
    assert found["markdown over concise"] == 1


def test_pairs_are_counted_one_by_one_with_their_calibration() -> None:
    rng = np.random.default_rng(3)
    delta_N = rng.normal(0.5, 1, 200)
    subsets = ["small"] * 20 + ["large"] * 180
    questions = [
        question([delta], [0], subset, str(number))
        for number, (delta, subset) in enumerate(zip(delta_N, subsets, strict=True))
    ]
    lengths = [
        question([number % 3], [1], one.subset, one.id) for number, one in enumerate(questions)
    ]
    found = summary("pairs", questions, lengths)
    assert found["score"] == pytest.approx(np.mean(delta_N > 0))
    assert found["ece"] == ece(delta_N)
    assert found["nll"] == nll(delta_N)
    low, high = found["score_ci"]
    assert low < found["score"] < high
    assert 0.08 < high - low < 0.2  # 2 x 1.96 x sqrt(0.7 x 0.3 / 200) = 0.127
    assert found["ece_ci"][0] <= found["ece"] <= found["ece_ci"][1]
    assert found["subsets"]["small"]["ece"] == ece(delta_N[:20])
    # Of three lengths one is longer, one shorter and one equal, which counts one half.
    assert found["longer_answer"] == {"score": pytest.approx(0.5, abs=0.01)}


def test_questions_of_a_group_are_drawn_together() -> None:
    """Each question twice says no more than once; as questions of their own they would."""
    delta_N = np.random.default_rng(4).normal(0.5, 1, 60)

    def pairs(copies: int, same_group: bool) -> list[Scored]:
        return [
            question([delta], [0], None, f"{number}.{copy}", f"{number:03}" if same_group else "")
            for number, delta in enumerate(delta_N)
            for copy in range(copies)
        ]

    once, grouped = summary("pairs", pairs(1, True)), summary("pairs", pairs(2, True))
    for key in ("score", "score_ci", "nll_ci", "brier_ci"):
        assert grouped[key] == pytest.approx(once[key])
    apart = summary("pairs", pairs(2, False))
    assert np.ptp(apart["nll_ci"]) < 0.85 * np.ptp(once["nll_ci"])


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 1_000))
def test_intervals_hold_their_estimate_within_the_range_of_a_share(number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    questions = [
        question(rng.normal(1, 1, 1), rng.normal(0, 1, 3), None, str(one)) for one in range(number)
    ]
    found = summarise_benchmark("best_of_n", questions, questions, seed=0, resamples=20)
    if number == 1:
        assert found["score_ci"] is None
    else:
        low, high = found["score_ci"]
        assert 0 <= low <= high <= 1


def test_scores_that_are_not_finite() -> None:
    questions = [question([1], [np.nan, 2]), question([np.inf], [0, 2])]
    with pytest.raises(ValueError, match="2 of 6 scores are NaN or infinite"):
        summary("best_of_n", questions)
