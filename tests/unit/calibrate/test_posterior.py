from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from linear_world import drawn_heads, world_pairs
from scipy.integrate import quad
from scipy.stats import norm

from more_ray.calibrate.heads import fit_heads
from more_ray.calibrate.objective import curvature, loss_and_gradient
from more_ray.calibrate.posterior import laplace, shared_laplace, variances, widened
from more_ray.metrics.calibration import sigmoid
from more_ray.model.heads_file import Ridge

HIDDEN = 5


def coverage(
    sizes: list[int],
    shares: str,
    worlds: int,
    drift: float | Sequence[float] = 0.6,
    noise: float | Sequence[float] = 1.0,
) -> tuple[float, float]:
    """How often 95% intervals of reward differences hold the truth: own heads, shared head.

    The true heads are drawn from the very prior that the ridges stand for; where drifts or noises
    differ, from one whose drifts have its mean variance before the noise.
    """
    shared = 1.0
    inside = np.zeros((worlds, 2, len(sizes), 20), dtype=bool)
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        truth = drawn_heads(rng, len(sizes), HIDDEN, shared, drift, noise)
        pairs = world_pairs(rng, truth, sizes, shares)
        tau2 = np.mean(np.square(drift))
        ridge = Ridge(1 / (pairs.effective * shared**2), 1 / (pairs.effective * tau2))
        heads = fit_heads(pairs, ridge)
        posterior = laplace(pairs, heads, ridge)
        for source in range(len(sizes)):
            dz_NH = rng.standard_normal((20, HIDDEN))
            for kind, factor_HH, found_H, true_H in (
                (0, posterior.own_KHH[source], heads.own_KH[source], truth.own_KH[source]),
                (1, posterior.shared_HH, heads.shared_H, truth.shared_H),
            ):
                reach_N = 1.96 * np.sqrt(variances(dz_NH, factor_HH))
                inside[seed, kind, source] = np.abs(dz_NH @ (found_H - true_H)) <= reach_N
    return tuple(inside.mean(axis=(0, 2, 3)))


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([150] * 4, "uniform"),
        ([400, 200, 100, 50], "proportional"),
        ([800, 400, 200, 150], "uniform"),
    ],
)
def test_the_posterior_covers(sizes: list[int], shares: str) -> None:
    own, shared = coverage(sizes, shares, worlds=300)
    assert 0.93 <= own <= 0.97
    assert 0.93 <= shared <= 0.97


VERY_DIFFERENT = [2_000, 600, 200, 100, 50]
"""Pairs of each population.

300 worlds have a standard error of 0.003 for own heads and of 0.004 for the shared one. Not within
0.93 and 0.97: own heads with uniform shares (0.924: large sources are held too much), the shared
head where one noise is three times the others (0.90), and single sources where drifts are 0.2 and
1 (50 pairs of the larger: 0.88), as there is one tau^2 for all.
"""


def test_the_posterior_covers_populations_of_very_different_size() -> None:
    own, shared = coverage(VERY_DIFFERENT, "proportional", worlds=300)
    assert 0.93 <= own <= 0.97
    assert 0.93 <= shared <= 0.97


@pytest.mark.parametrize(
    ("drift", "noise"), [(0.6, [1, 1, 3, 1, 1]), ([0.6, 0.6, 0.6, 0.3, 0.3], 1.0)]
)
def test_the_posterior_covers_own_heads_of_other_noise_or_drift(
    drift: float | Sequence[float], noise: float | Sequence[float]
) -> None:
    assert 0.93 <= coverage(VERY_DIFFERENT, "proportional", 300, drift, noise)[0] <= 0.97


@pytest.mark.parametrize("shares", ["proportional", "uniform"])
def test_covariances_are_those_of_the_whole_system(shares: str) -> None:
    """`M^-1 V M^-1` over all of (w, d_1, ..., d_K): M the Hessian, V the gradient's noise.

    Where all pairs count the same, V is M / N.
    """
    rng = np.random.default_rng(0)
    sizes, ridge = [60, 40, 20], Ridge(0.02, 0.1)
    pairs = world_pairs(rng, drawn_heads(rng, 3, HIDDEN, 1.0, 0.5), sizes, shares)
    heads = fit_heads(pairs, ridge)
    bend_N = loss_and_gradient(pairs, heads.own_KH)[2]
    parts = [slice(start, start + HIDDEN) for start in range(0, 4 * HIDDEN, HIDDEN)]
    whole = np.diag(np.repeat([ridge.shared, *[ridge.drift] * 3], HIDDEN))
    noise = whole / pairs.effective
    for source, drift in enumerate(parts[1:]):
        hessian_HH = curvature(pairs, bend_N, np.flatnonzero(pairs.source_N == source))
        for one in (parts[0], drift):
            for other in (parts[0], drift):
                whole[one, other] += hessian_HH
                noise[one, other] += pairs.share_K[source] / sizes[source] * hessian_HH
    covariance = np.linalg.inv(whole) @ noise @ np.linalg.inv(whole)
    if shares == "proportional":
        np.testing.assert_allclose(covariance, np.linalg.inv(120 * whole), atol=1e-12)
    posterior = laplace(pairs, heads, ridge)
    factors = [posterior.shared_HH, *posterior.own_KHH]
    to_heads = [np.eye(4 * HIDDEN)[parts[0]]]
    to_heads += [to_heads[0] + np.eye(4 * HIDDEN)[drift] for drift in parts[1:]]
    for factor_HH, to_head in zip(factors, to_heads, strict=True):
        assert not np.triu(factor_HH, 1).any()
        expected_HH = to_head @ covariance @ to_head.T
        np.testing.assert_allclose(factor_HH @ factor_HH.T, expected_HH, atol=1e-12)
    np.testing.assert_array_equal(shared_laplace(pairs, heads, ridge), posterior.shared_HH)


def test_without_drifts_every_head_is_the_shared_one() -> None:
    rng = np.random.default_rng(0)
    pairs = world_pairs(rng, drawn_heads(rng, 2, HIDDEN, 1.0, 0.0), [60, 60])
    ridge, stiff = Ridge(0.02, np.inf), Ridge(0.02, 1e6)
    posterior = laplace(pairs, fit_heads(pairs, ridge), ridge)
    nearly = laplace(pairs, fit_heads(pairs, stiff), stiff)
    np.testing.assert_allclose(posterior.own_KHH[1], posterior.shared_HH)
    np.testing.assert_allclose(nearly.shared_HH, posterior.shared_HH, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(nearly.own_KHH[1], posterior.shared_HH, rtol=1e-3, atol=1e-5)


def test_weighing_a_source_up_does_not_make_its_head_surer() -> None:
    """Its 50 pairs are 50 observations; a fit that hangs on them more follows their noise."""
    truth = drawn_heads(np.random.default_rng(0), 2, HIDDEN, 1.0, 0.5)
    found = []
    for shares in ([0.05, 0.95], [0.5, 0.5], [0.9, 0.1]):
        pairs = world_pairs(np.random.default_rng(1), truth, [50, 950], shares)
        ridge = Ridge(1e-4, 4 / pairs.effective)
        posterior = laplace(pairs, fit_heads(pairs, ridge), ridge)
        found.append(variances(np.eye(HIDDEN), posterior.own_KHH[0]).mean())
    assert found[0] < found[1] < found[2]


def test_variances() -> None:
    rng = np.random.default_rng(0)
    factor_HH = np.tril(rng.standard_normal((HIDDEN, HIDDEN)))
    dz_NH = rng.standard_normal((3, HIDDEN)).astype(np.float32)
    expected_N = np.diag(dz_NH @ factor_HH @ factor_HH.T @ dz_NH.T)
    np.testing.assert_allclose(variances(dz_NH, factor_HH), expected_N, rtol=1e-6)


@pytest.mark.parametrize("variance", [0.0, 0.5, 2.0, 10.0])
def test_a_probability_is_nearly_the_mean_over_the_posterior(variance: float) -> None:
    for delta in (-3.0, 0.0, 0.7, 2.0):
        spread = max(variance, 1e-12) ** 0.5

        def weighed(x: float, delta: float = delta, spread: float = spread) -> float:
            return float(sigmoid(np.array(x)) * norm.pdf(x, delta, spread))

        exact = quad(weighed, delta - 9 * spread, delta + 9 * spread)[0]
        found = sigmoid(widened(np.array([delta]), np.array([variance])))[0]
        assert found == pytest.approx(exact, abs=0.02)
