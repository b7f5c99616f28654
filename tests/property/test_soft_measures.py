"""Measures of pairs with shares of votes and weights: what they have in common with hard labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from more_ray.evaluate.files import scores_by_source, scores_table
from more_ray.metrics.accuracy import accuracy
from more_ray.metrics.baselines import longer_answer_accuracy, with_temperature
from more_ray.metrics.calibration import correctness, ece, nll, sigmoid
from more_ray.metrics.intervals import calibrated_replicates
from more_ray.metrics.labels import Labels, decided_pairs, taken
from more_ray.metrics.measures import functions
from more_ray.metrics.outliers import outliers
from more_ray.metrics.scores import SourceScores, labels_of
from more_ray.metrics.summary import compare, summarise
from more_ray.metrics.temperature import fit_temperature

FUNCTIONS: dict[str, Callable[..., float]] = {**functions(10), "temperature": fit_temperature}
OF_LABELS = sorted(set(FUNCTIONS) - {"delta_mean", "delta_std"})
"""Those that ask which answer is the better one."""
SEEDS = st.integers(0, 2**32)


def drawn(seed: int, pairs: int = 40) -> tuple[np.random.Generator, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng, rng.normal(0.5, 1.5, pairs)


@given(SEEDS, st.sampled_from(OF_LABELS))
@settings(deadline=None)
def test_votes_that_all_agree_are_hard_labels(seed: int, name: str) -> None:
    rng, delta_N = drawn(seed)
    share_N = rng.integers(0, 2, len(delta_N)).astype(float)
    expected = FUNCTIONS[name](np.where(share_N == 1, delta_N, -delta_N))
    assert FUNCTIONS[name](delta_N, share_N=share_N) == pytest.approx(expected, rel=1e-9)
    hard = outliers(np.where(share_N == 1, delta_N, -delta_N))
    assert outliers(delta_N, share_N) == hard


@given(SEEDS, st.sampled_from(sorted(set(FUNCTIONS) - {"adaptive_ece", "debiased_ece"})))
@settings(deadline=None)
def test_a_weight_is_as_many_pairs(seed: int, name: str) -> None:
    rng, delta_N = drawn(seed)
    share_N = rng.choice([0.5, 0.6, 1.0], len(delta_N))
    times_N = rng.integers(1, 4, len(delta_N))
    expected = FUNCTIONS[name](np.repeat(delta_N, times_N), share_N=np.repeat(share_N, times_N))
    found = FUNCTIONS[name](delta_N, share_N=share_N, weight_N=times_N.astype(float))
    assert found == pytest.approx(expected, rel=1e-9)


@given(SEEDS, st.floats(1e-3, 1e3), st.sampled_from(sorted(FUNCTIONS)))
@settings(deadline=None)
def test_equal_weights_change_nothing(seed: int, weight: float, name: str) -> None:
    rng, delta_N = drawn(seed)
    share_N = rng.choice([0.5, 0.6, 1.0], len(delta_N))
    found = FUNCTIONS[name](delta_N, share_N=share_N, weight_N=np.full(len(delta_N), weight))
    assert found == pytest.approx(FUNCTIONS[name](delta_N, share_N=share_N), rel=1e-9)


@given(SEEDS)
@settings(deadline=None)
def test_cross_entropy_and_square_error_are_least_at_the_shares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    share_N = rng.uniform(0.5, 0.99, 30)
    best_N = np.log(share_N / (1 - share_N))
    for name in ("nll", "brier"):
        measure = FUNCTIONS[name]
        assert measure(best_N + rng.normal(size=30), share_N=share_N) > measure(
            best_N, share_N=share_N
        )
    assert ece(best_N, share_N=share_N) == pytest.approx(0, abs=1e-12)
    assert fit_temperature(3 * best_N, share_N) == pytest.approx(3, rel=1e-6)


def test_a_case_worked_by_hand() -> None:
    """Confidences 0.8, 0.8 and 0.9, each for the answer with 0.6, 1 - 0.7 and 0.5 of the votes."""
    delta_N = np.log([4.0, 1 / 4, 9.0])
    share_N = np.array([0.6, 0.7, 0.5])
    np.testing.assert_allclose(correctness(delta_N, share_N), [0.6, 0.3, 0.5])
    assert ece(delta_N, share_N=share_N) == pytest.approx((abs(1.6 - 0.9) + 0.4) / 3)
    assert accuracy(delta_N, share_N) == 0.5
    assert accuracy(delta_N, share_N, np.array([3.0, 1.0, 9.0])) == 0.75
    assert decided_pairs(3, share_N) == 2
    assert decided_pairs(3, share_N, np.array([3.0, 1.0, 9.0])) == round(16 / 10)
    assert decided_pairs(3, None, np.array([10.0, 1.0, 1.0])) == round(144 / 102) == 1
    assert longer_answer_accuracy(np.array([5, 5, 5]), np.array([4, 4, 9]), share_N) == 1
    assert FUNCTIONS["brier"](delta_N, share_N=share_N) == pytest.approx(
        (0.2**2 + 0.5**2 + 0.4**2) / 3
    )


def test_nothing_but_ties_is_a_guess() -> None:
    delta_N, share_N = np.array([1.0, 2.0, 3.0]), np.full(3, 0.5)
    assert accuracy(delta_N, share_N) == 0.5
    assert decided_pairs(3, share_N) == 0
    assert outliers(delta_N, share_N)["positive_outliers"] == 0


def voted(seed: int, pairs: int, votes: int) -> tuple[np.ndarray, Labels]:
    """Scores of a model that knows the true probability of every vote."""
    rng = np.random.default_rng(seed)
    delta_N = rng.normal(0, 0.8, pairs)
    share_N = rng.binomial(votes, sigmoid(delta_N)) / votes
    side_N = np.where(share_N < 0.5, -1, 1)
    return side_N * delta_N, {"share_N": np.where(share_N < 0.5, 1 - share_N, share_N)}


@pytest.mark.parametrize("votes", [1, 3, 10])
def test_the_noise_floor_is_what_calibrated_models_score(votes: int) -> None:
    scored = []
    for seed in range(100):
        delta_N, labels = voted(seed, 1_000, votes)
        scored.append(ece(delta_N, **labels))
    delta_N, labels = voted(0, 1_000, votes)
    floor = calibrated_replicates({"ece": ece}, delta_N, 0, 300, **labels)["ece"].mean()
    assert floor == pytest.approx(np.mean(scored), rel=0.1)


def scores(seed: int, pairs: int = 60, **further: Any) -> SourceScores:
    rng = np.random.default_rng(seed)
    number_N = np.arange(pairs)
    return SourceScores(
        number_N,
        rng.normal(0.5, 1, pairs).astype(np.float32),
        rng.normal(0, 1, pairs).astype(np.float32),
        rng.integers(1, 50, pairs),
        rng.integers(1, 50, pairs),
        **further,
    )


def test_an_evaluation_says_how_many_pairs_its_accuracy_is_of() -> None:
    share_N = np.resize([0.5, 0.75, 1.0], 60).astype(np.float32)
    subset_N = np.resize(np.array(["x", "x", "y"], dtype=object), 60)
    plain, voted = scores(0), scores(0, share_N=share_N, subset_N=subset_N)
    result = summarise({"a": voted}, "more", 0, 0, resamples=50)["sources"]["a"]
    assert (result["n"], result["accuracy_n"]) == (60, 40)
    low, high = result["accuracy_ci"]
    right = result["accuracy"]
    assert right == (voted.delta_N > 0)[share_N > 0.5].mean()
    wide = summarise({"a": plain}, "more", 0, 0, resamples=50)
    assert "accuracy_n" not in wide["sources"]["a"]
    assert (
        high - low > wide["sources"]["a"]["accuracy_ci"][1] - wide["sources"]["a"]["accuracy_ci"][0]
    )
    assert result["nll"] == nll(voted.delta_N, share_N.astype(float))
    assert result["nll_ci"][0] < result["nll"] < result["nll_ci"][1]
    inside = subset_N == "x"
    of_subset = taken(voted.labels, inside)
    assert result["subsets"]["x"]["ece"] == ece(voted.delta_N[inside], 10, **of_subset)


def test_only_ties_can_be_evaluated() -> None:
    tied = scores(0, share_N=np.full(60, 0.5))
    result = summarise({"a": tied}, "more", 0, 0, resamples=20)
    assert result["sources"]["a"]["accuracy_ci"] == [0, 1]
    assert all(
        np.isfinite(result["mean"][key]) for key in ("accuracy", "ece", "nll", "temperature")
    )


def test_the_file_of_scores_keeps_shares_and_weights() -> None:
    rng = np.random.default_rng(0)
    known = {
        "share_N": rng.uniform(0.5, 1, 60).astype("f4"),
        "weight_N": rng.random(60).astype("f4"),
    }
    written = {"a": scores(0), "b": scores(1, **known)}
    read = scores_by_source(scores_table(written))
    assert summarise(read, "more", 0, 0, resamples=20) == summarise(
        written, "more", 0, 0, resamples=20
    )
    earlier = scores_table(written).drop_columns(["share", "weight"])
    assert scores_by_source(earlier)["b"].labels == {}
    together = labels_of(list(read.values()))
    np.testing.assert_array_equal(together["weight_N"][:60], 1)
    np.testing.assert_array_equal(together["weight_N"][60:], known["weight_N"].astype(float))


def test_models_are_compared_on_the_same_shares_in_any_order() -> None:
    share_N = np.random.default_rng(0).uniform(0.5, 1, 60)
    one, other = scores(0, share_N=share_N), scores(1, share_N=share_N)
    found = compare([{"a": one}], [{"a": other}], 0, resamples=50)
    difference = nll(one.delta_N, share_N) - nll(other.delta_N, share_N)
    assert found["mean"]["nll"]["difference"] == pytest.approx(difference)
    back = SourceScores(
        *(
            getattr(other, f"{name}_N")[::-1]
            for name in ("pair", "chosen", "rejected", "chosen_length", "rejected_length")
        )
    )
    assert compare([{"a": one}], [{"a": back}], 0, resamples=50) == found


def test_a_cooled_model_keeps_its_shares() -> None:
    share_N = np.full(60, 0.75)
    cooled = with_temperature({"a": scores(0, share_N=share_N)}, 0)["a"]
    hard = with_temperature({"a": scores(0)}, 0)["a"]
    assert np.abs(cooled.delta_N).mean() != np.abs(hard.delta_N).mean()
    np.testing.assert_array_equal(cooled.labels["share_N"], share_N)
