"""Rules of choosing, and what is expected of the best of n."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from more_ray.sample.choice import best_of, doubling, gains, worth

RULES = ("shared", "worst", "mean", "nash")
EIGHTHS = st.integers(-800, 800).map(lambda number: number / 8)
"""Numbers whose sums are exact, so that ties stay ties."""


@st.composite
def rewards(draw: st.DrawFn, sources: int | None = None) -> NDArray[np.float64]:
    """`[P, A]`, everybody first; the number of answers is a power of 2, so that means are exact."""
    sources = sources or draw(st.integers(1, 4))
    answers = draw(st.sampled_from([1, 2, 4, 8]))
    return draw(arrays(np.float64, (1 + sources, answers), elements=EIGHTHS))


def names_for(reward_PA: NDArray[np.float64]) -> list[str]:
    return [f"source_{number}" for number in range(len(reward_PA) - 1)]


def chosen(by: str, reward_PA: NDArray[np.float64], doubt: NDArray[np.float64] | float = 0) -> int:
    return int(worth(by, names_for(reward_PA), reward_PA, doubt).argmax())


@settings(deadline=None)
@given(rewards(), st.sampled_from(["shared", "worst", "nash", "source=source_0"]), st.data())
def test_a_constant_for_each_population_changes_nothing(
    reward_PA: NDArray[np.float64], by: str, data: st.DataObject
) -> None:
    shift = st.lists(EIGHTHS, min_size=len(reward_PA), max_size=len(reward_PA))
    moved_PA = reward_PA + np.array(data.draw(shift))[:, None]
    assert chosen(by, moved_PA) == chosen(by, reward_PA)


@settings(deadline=None)
@given(rewards(), st.sampled_from(RULES), st.randoms())
def test_the_order_of_answers_decides_ties_only(
    reward_PA: NDArray[np.float64], by: str, random: object
) -> None:
    order_A = list(range(reward_PA.shape[1]))
    random.shuffle(order_A)  # ty: ignore[unresolved-attribute]
    worth_A = worth(by, names_for(reward_PA), reward_PA)
    moved_A = worth(by, names_for(reward_PA), reward_PA[:, order_A])
    assert moved_A == pytest.approx(worth_A[order_A], rel=1e-12)
    assert chosen(by, reward_PA) == list(worth_A).index(worth_A.max())


@settings(deadline=None)
@given(rewards(), st.sampled_from(RULES))
def test_a_repeated_answer_stands_for_its_first(reward_PA: NDArray[np.float64], by: str) -> None:
    twice_PA = np.concatenate([reward_PA, reward_PA], axis=1)
    assert chosen(by, twice_PA) == chosen(by, reward_PA)


@settings(deadline=None)
@given(rewards(), st.sampled_from(["shared", "mean", "nash"]))
def test_no_rule_leaves_the_least_pleased_better_off_than_worst(
    reward_PA: NDArray[np.float64], other: str
) -> None:
    least_A = gains(reward_PA)[1:].min(axis=0)
    assert least_A[chosen("worst", reward_PA)] >= least_A[chosen(other, reward_PA)]


@settings(deadline=None)
@given(rewards(), st.sampled_from(["shared", "mean", "worst"]))
def test_nash_gives_all_a_gain_where_that_can_be(
    reward_PA: NDArray[np.float64], other: str
) -> None:
    gain_KA = gains(reward_PA)[1:]
    at = chosen("nash", reward_PA)
    for_all_A = (gain_KA > 0).all(axis=0)
    assert for_all_A[at] == for_all_A.any()
    theirs = chosen(other, reward_PA)
    if for_all_A[theirs]:
        assert np.log(gain_KA[:, at]).sum() >= np.log(gain_KA[:, theirs]).sum() - 1e-9
    if not for_all_A.any():
        assert at == chosen("worst", reward_PA)


@settings(deadline=None)
@given(rewards(sources=1))
def test_all_rules_agree_on_a_single_population(reward_PA: NDArray[np.float64]) -> None:
    reward_PA[0] = reward_PA[1]
    worths = {by: worth(by, ["source_0"], reward_PA) for by in RULES}
    for worth_A in worths.values():
        assert worth_A - worth_A[0] == pytest.approx(reward_PA[0] - reward_PA[0, 0])


def test_doubt_moves_a_choice_to_what_is_surer() -> None:
    reward_PA = np.array([[3.0, 2.0, 0.0]] * 3)
    doubt_PA = np.array([[2.0, 0.5, 0.0]] * 3)
    for by in (*RULES, "source=source_1"):
        assert chosen(by, reward_PA) == 0
        assert chosen(by, reward_PA, doubt_PA) == 1


@settings(deadline=None)
@given(rewards(), st.integers(0, 3), st.data())
def test_the_best_of_n_is_the_mean_over_all_subsets(
    value_QA: NDArray[np.float64], empty: int, data: st.DataObject
) -> None:
    answers = value_QA.shape[1]
    samples = answers + empty
    worth_A = data.draw(arrays(np.float64, answers, elements=st.integers(0, 3).map(float)))
    size_N = doubling(samples)
    expected = []
    for size in size_N:
        best = []
        for subset in combinations(range(samples), size):
            known = [at for at in subset if at < answers]
            if known:
                best.append(value_QA[:, max(known, key=lambda at: (worth_A[at], -at))])
        expected.append(np.mean(best, axis=0))
    assert best_of(worth_A, value_QA, samples, size_N) == pytest.approx(np.array(expected))


@settings(deadline=None)
@given(rewards())
def test_one_is_the_mean_all_are_the_choice_and_more_is_never_worse(
    reward_PA: NDArray[np.float64],
) -> None:
    answers = reward_PA.shape[1]
    size_N = range(1, answers + 1)
    found_NP = best_of(reward_PA[0], reward_PA, answers, size_N)
    assert found_NP[0] == pytest.approx(reward_PA.mean(axis=1))
    assert found_NP[-1] == pytest.approx(reward_PA[:, chosen("shared", reward_PA)])
    assert (np.diff(found_NP[:, 0]) >= -1e-9).all()


def test_numbers_of_samples() -> None:
    assert [doubling(samples) for samples in (1, 2, 6, 8)] == [
        [1],
        [1, 2],
        [1, 2, 4, 6],
        [1, 2, 4, 8],
    ]


def test_doubt_is_taken_from_gains_not_from_what_they_are_compared_with() -> None:
    reward_PA = np.array([[0.0, 0.0], [1.0, -1.0], [-1.0, 1.0]])
    doubt_PA = np.array([[0.0, 0.0], [5.0, 5.0], [0.0, 0.0]])
    assert worth("worst", ["a", "b"], reward_PA, doubt_PA).tolist() == [-4.0, -6.0]
