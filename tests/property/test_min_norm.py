"""The solver of (9): KKT conditions, symmetries, and an answer for every input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from more_ray.objective.min_norm import duality_gap, min_norm_weights

SEEDS = st.integers(0, 2**32 - 1)


def gradients(seed: int, sources: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(sources, width))


def by_enumeration(gram_KK: np.ndarray) -> np.ndarray:
    """The minimiser by trying every support: slow, and independent of the solver."""
    best, best_norm = None, np.inf
    sources = len(gram_KK)
    for size in range(1, sources + 1):
        for support in itertools.combinations(range(sources), size):
            part = gram_KK[np.ix_(support, support)]
            weight = np.linalg.lstsq(part + 1, np.ones(size), rcond=None)[0]
            weight /= weight.sum()
            if (weight < 0).any():
                continue
            norm = weight @ part @ weight
            if norm < best_norm - 1e-15:
                best_norm = norm
                best = np.zeros(sources)
                best[list(support)] = weight
    assert best is not None
    return best


@given(SEEDS, st.integers(1, 7), st.integers(1, 12), st.floats(-3, 3))
@settings(max_examples=200, deadline=None)
def test_kkt_conditions(seed: int, sources: int, width: int, shift: float) -> None:
    grad_KH = gradients(seed, sources, width) + shift
    gram_KK = grad_KH @ grad_KH.T
    lam_K = min_norm_weights(gram_KK)
    assert (lam_K >= 0).all()
    assert lam_K.sum() == pytest.approx(1, abs=1e-12)
    assert duality_gap(gram_KK, lam_K) <= 1e-9 * gram_KK.diagonal().max()
    slope_K = gram_KK @ lam_K
    used = lam_K > 0
    assert np.ptp(slope_K[used]) <= 1e-9 * gram_KK.diagonal().max()


@given(SEEDS, st.integers(2, 5))
@settings(max_examples=100, deadline=None)
def test_equals_enumeration(seed: int, sources: int) -> None:
    grad_KH = gradients(seed, sources, 16) + 1
    gram_KK = grad_KH @ grad_KH.T
    np.testing.assert_allclose(min_norm_weights(gram_KK), by_enumeration(gram_KK), atol=1e-9)


@given(SEEDS, st.integers(2, 6), st.floats(1e-6, 1e6))
@settings(max_examples=100, deadline=None)
def test_permutation_equivariant_and_scale_invariant(seed: int, sources: int, scale: float) -> None:
    grad_KH = gradients(seed, sources, 32) + 0.5
    gram_KK = grad_KH @ grad_KH.T
    order = np.random.default_rng(seed).permutation(sources)
    lam_K = min_norm_weights(gram_KK)
    np.testing.assert_allclose(
        min_norm_weights(scale * gram_KK[np.ix_(order, order)]), lam_K[order], atol=1e-9
    )


@given(SEEDS, st.integers(2, 5))
@settings(max_examples=50, deadline=None)
def test_frank_wolfe_approaches_the_exact_solution(seed: int, sources: int) -> None:
    grad_KH = gradients(seed, sources, 32) + 0.5
    gram_KK = grad_KH @ grad_KH.T
    exact, plain = (min_norm_weights(gram_KK, name) for name in ("active_set", "frank_wolfe"))
    best, reached = (lam @ gram_KK @ lam for lam in (exact, plain))
    assert best <= reached * (1 + 1e-12)
    assert reached <= best + 0.02 * gram_KK.diagonal().max()


@given(hnp.arrays(np.float64, st.tuples(st.just(4), st.just(6)), elements=st.floats(-1e6, 1e6)))
@settings(max_examples=200, deadline=None)
def test_any_finite_gradients_get_weights_on_the_simplex(grad_KH: np.ndarray) -> None:
    gram_KK = grad_KH @ grad_KH.T
    lam_K = min_norm_weights(gram_KK)
    assert (lam_K >= 0).all()
    assert lam_K.sum() == pytest.approx(1)
    # Gradients lost in rounding beside the largest count as zero; among the rest lam is optimal.
    square_K = gram_KK.diagonal()
    used = np.flatnonzero(square_K > 1e-24 * square_K.max())
    if used.size:
        part = gram_KK[np.ix_(used, used)]
        assert duality_gap(part, lam_K[used]) <= 1e-9 * square_K.max()


def test_zero_gradient_is_left_out_of_the_solve() -> None:
    grad_KH = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    lam_K = min_norm_weights(grad_KH @ grad_KH.T)
    np.testing.assert_allclose(lam_K, [0, 0.8, 0.2], atol=1e-12)


def test_nan_gradient_is_left_out_of_the_solve() -> None:
    grad_KH = np.array([[np.nan, 1.0], [1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(min_norm_weights(grad_KH @ grad_KH.T), [0, 0.8, 0.2], atol=1e-12)


def test_all_zero_gradients_are_uniform() -> None:
    np.testing.assert_array_equal(min_norm_weights(np.zeros((4, 4))), np.full(4, 0.25))


def test_single_source_has_all_the_weight() -> None:
    np.testing.assert_array_equal(min_norm_weights(np.array([[3.0]])), [1.0])


def test_duplicate_gradients_reach_the_minimum() -> None:
    grad_KH = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    lam_K = min_norm_weights(grad_KH @ grad_KH.T)
    assert lam_K[:2].sum() == pytest.approx(0.5)
    assert lam_K[2] == pytest.approx(0.5)


def test_opposed_gradients_cancel() -> None:
    grad_KH = np.array([[2.0, 0.0], [-1.0, 0.0]])
    lam_K = min_norm_weights(grad_KH @ grad_KH.T)
    np.testing.assert_allclose(lam_K, [1 / 3, 2 / 3], atol=1e-12)
