"""Squared gradient norms without sampling noise, and the weights that are solved from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from more_ray.objective.min_norm import SOLVERS, duality_gap, min_norm_weights
from more_ray.objective.noise import sampling_noise, without_noise

SEEDS = st.integers(0, 2**32 - 1)


def draw(
    rng: np.random.Generator, true_KH: np.ndarray, sigma_K: np.ndarray, pairs: int
) -> tuple[np.ndarray, np.ndarray]:
    """The Gram matrix of mean gradients of `pairs` pairs a source, and its estimated noise."""
    noise_KNH = rng.normal(size=(len(true_KH), pairs, true_KH.shape[1]))
    grad_KNH = true_KH[:, None] + sigma_K[:, None, None] * noise_KNH
    mean_KH = grad_KNH.mean(axis=1)
    gram_KK = mean_KH @ mean_KH.T
    mean_square_K = np.square(grad_KNH).sum(axis=2).mean(axis=1)
    count_K = np.full(len(true_KH), float(pairs))
    return gram_KK, sampling_noise(gram_KK.diagonal(), mean_square_K, count_K)


@given(SEEDS, st.integers(2, 6), st.floats(0.1, 3))
@settings(max_examples=20, deadline=None)
def test_the_estimate_is_unbiased(seed: int, pairs: int, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    # 4,000 sources with the same true gradient are as many independent estimates.
    true_KH = np.tile(rng.normal(size=8), (4_000, 1))
    gram_KK, noise_K = draw(rng, true_KH, np.full(4_000, sigma), pairs)
    estimate_K = gram_KK.diagonal() - noise_K
    error = estimate_K.std() / np.sqrt(len(estimate_K))
    assert estimate_K.mean() == pytest.approx(true_KH[0] @ true_KH[0], abs=6 * error)
    assert noise_K.mean() == pytest.approx(8 * sigma**2 / pairs, rel=0.1)


def test_a_single_pair_says_nothing_of_its_noise() -> None:
    noise_K = sampling_noise(np.array([4.0, 4.0]), np.array([4.0, 5.0]), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(noise_K, [np.nan, 1.0])
    np.testing.assert_allclose(without_noise(np.diag([4.0, 4.0]), noise_K), np.diag([4.0, 3.0]))


@given(SEEDS, st.integers(1, 7), st.integers(2, 5), st.floats(0, 3), st.sampled_from(list(SOLVERS)))
@settings(max_examples=200, deadline=None)
def test_both_solvers_take_what_is_left(
    seed: int, sources: int, pairs: int, spread: float, solver: str
) -> None:
    rng = np.random.default_rng(seed)
    true_KH = rng.normal(size=(sources, 6))
    gram_KK, noise_K = draw(rng, true_KH, spread * np.exp(rng.normal(size=sources)), pairs)
    clean_KK = without_noise(gram_KK, noise_K)
    largest = clean_KK.diagonal().max()
    assert np.linalg.eigvalsh(clean_KK).min() >= -1e-12 * largest
    lam_K = min_norm_weights(clean_KK, solver)
    assert (lam_K >= 0).all()
    assert lam_K.sum() == pytest.approx(1)
    heard = np.flatnonzero(gram_KK.diagonal() > noise_K)
    if heard.size:
        assert set(np.flatnonzero(lam_K)) <= set(heard)
        gap = duality_gap(clean_KK[np.ix_(heard, heard)], lam_K[heard])
        assert gap <= (1e-9 if solver == "active_set" else 0.05) * largest


@given(SEEDS, st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_without_noise_nothing_changes(seed: int, sources: int) -> None:
    grad_KH = np.random.default_rng(seed).normal(size=(sources, 8))
    gram_KK = grad_KH @ grad_KH.T
    np.testing.assert_allclose(without_noise(gram_KK, np.zeros(sources)), gram_KK, atol=1e-12)


def test_an_indefinite_matrix_becomes_the_nearest_of_real_gradients() -> None:
    # Of [[1, 2], [2, 1]], with eigenvalues 3 and -1, only 3 (1, 1) (1, 1)^T / 2 stays.
    gram_KK = np.array([[3.0, 2.0], [2.0, 3.0]])
    np.testing.assert_allclose(without_noise(gram_KK, np.array([2.0, 2.0])), np.full((2, 2), 1.5))


def test_what_is_only_noise_counts_as_no_gradient() -> None:
    gram_KK = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 4.0]])
    clean_KK = without_noise(gram_KK, np.array([1.5, 0.0, 0.0]))
    np.testing.assert_allclose(clean_KK, np.diag([0.0, 1.0, 4.0]), atol=1e-15)
    np.testing.assert_allclose(min_norm_weights(clean_KK), [0, 0.8, 0.2])


def test_equal_gradients_of_unequal_noise_come_nearer_to_equal_weights() -> None:
    rng = np.random.default_rng(0)
    true_KH = np.zeros((2, 32))
    true_KH[:, 0] = 1
    true_KH[0, 1] = true_KH[1, 2] = 2  # of the same length, so that lam is 1/2 without noise
    raw, debiased = [], []
    for _ in range(200):
        gram_KK, noise_K = draw(rng, true_KH, np.array([0.2, 2.0]), pairs=16)
        raw.append(min_norm_weights(gram_KK))
        debiased.append(min_norm_weights(without_noise(gram_KK, noise_K)))
    # Noise adds 32 * 4 / 16 = 8 to the second squared norm of 5, so lam_0 is 12 / 16 on average.
    assert np.mean(raw, axis=0)[0] == pytest.approx(0.75, abs=0.02)
    assert abs(np.mean(debiased, axis=0)[0] - 0.5) < 0.05
