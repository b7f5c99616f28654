from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from more_ray.metrics.calibration import adaptive_ece, debiased_ece, ece, nll, sigmoid
from more_ray.metrics.temperature import fit_temperature

deltas = st.lists(st.floats(-30, 30), min_size=1, max_size=60).map(np.array)
even_bins = st.sampled_from([2, 4, 10, 20])


def two_sided_ece(delta_N: NDArray[np.float64], bins: int) -> float:
    """The authors' form: both orders of a pair are points, in equal bins `(a, b]` on [0, 1]."""
    p_2N = np.concatenate([sigmoid(delta_N), sigmoid(-delta_N)])
    label_2N = np.repeat([1.0, 0.0], len(delta_N))
    bin_2N = np.searchsorted(np.linspace(0, 1, bins + 1), p_2N)
    gaps = [abs(np.sum((p_2N - label_2N)[bin_2N == one])) for one in range(bins + 1)]
    return sum(gaps) / len(p_2N)


def near_an_edge(delta_N: NDArray[np.float64], bins: int) -> bool:
    """Whether a probability is so near an edge that `(a, b]` and its mirror `[a, b)` differ."""
    position_N = bins * sigmoid(np.abs(delta_N))
    inner_N = position_N < bins - 0.5
    return bool(np.any(inner_N & (np.abs(position_N - np.round(position_N)) < 1e-9)))


@given(deltas, even_bins)
def test_two_sided_ece_is_top_label_ece(delta_N: NDArray[np.float64], bins: int) -> None:
    assume(not near_an_edge(delta_N, bins))
    assert ece(delta_N, bins) == pytest.approx(two_sided_ece(delta_N, bins), abs=1e-12)


@given(deltas, st.integers(1, 20))
def test_ece_is_between_zero_and_one(delta_N: NDArray[np.float64], bins: int) -> None:
    assert 0.0 <= ece(delta_N, bins) <= 1.0


@given(deltas, even_bins, st.randoms(use_true_random=False))
def test_ece_does_not_depend_on_the_order(delta_N: NDArray[np.float64], bins: int, random) -> None:
    shuffled_N = np.array(random.sample(list(delta_N), len(delta_N)))
    assert ece(shuffled_N, bins) == pytest.approx(ece(delta_N, bins), abs=1e-12)


@given(deltas, st.integers(1, 20))
def test_other_errors_lie_between_zero_and_one(delta_N: NDArray[np.float64], bins: int) -> None:
    assert 0.0 <= adaptive_ece(delta_N, bins) <= 1.0
    assert 0.0 <= debiased_ece(delta_N, bins) <= ece(delta_N, bins) + 1e-12


@given(deltas)
def test_a_fitted_temperature_never_makes_the_fitted_loss_worse(
    delta_N: NDArray[np.float64],
) -> None:
    assert nll(delta_N / fit_temperature(delta_N)) <= nll(delta_N) + 1e-9
