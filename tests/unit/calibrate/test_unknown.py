from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from linear_world import drawn_heads, labelled, world_pairs
from numpy.typing import NDArray

from more_ray.calibrate.heads import fit_heads
from more_ray.calibrate.pairs import Pairs, make_pairs
from more_ray.calibrate.posterior import shared_laplace, variances, widened
from more_ray.calibrate.unknown import (
    drift_variance,
    factors_of_strangers,
    leave_each_out,
    leave_out,
    squared_lengths,
    unknown_factor,
)
from more_ray.errors import UserError
from more_ray.metrics.calibration import ece, nll
from more_ray.metrics.intervals import calibrated_replicates
from more_ray.model.heads_file import Heads, Ridge

HIDDEN, SOURCES, SIZE = 64, 8, 250
SHARED = DRIFT = 0.2
"""Standard deviations of the numbers of true heads and drifts."""
RIDGE = Ridge(1 / (SOURCES * SIZE * SHARED**2), 1 / (SOURCES * SIZE * DRIFT**2))


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    rng = np.random.default_rng(0)
    truth = drawn_heads(rng, SOURCES, HIDDEN, SHARED, DRIFT)
    return world_pairs(rng, truth, [SIZE] * SOURCES)


def fitted_factor(pairs: Pairs, ridge: Ridge, start: Heads | None = None) -> float:
    return unknown_factor(pairs, leave_each_out(pairs, ridge, start=start))


def never_asked(
    seed: int,
    sizes: list[int],
    shares: str,
    drift: float | Sequence[float],
    noise: float | Sequence[float] = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reward differences of the last population, whose pairs neither the heads nor c saw.

    By the shared head alone, and as sure as it can be. `sizes` are of all others.
    """
    rng = np.random.default_rng(seed)
    truth = drawn_heads(rng, SOURCES, HIDDEN, SHARED, drift, noise)
    known = world_pairs(rng, Heads(truth.shared_H, truth.drift_KH[:-1]), sizes, shares)
    tau2 = np.mean(np.square(drift))
    ridge = Ridge(1 / (known.effective * SHARED**2), 1 / (known.effective * tau2))
    heads = fit_heads(known, ridge)
    factor_HH = shared_laplace(known, heads, ridge)
    widening = fitted_factor(known, ridge, heads) * drift_variance(heads.drift_KH)
    dz_NH = labelled(rng, 2_000, truth.own_KH[-1])
    shared_N = dz_NH @ heads.shared_H
    variance_N = variances(dz_NH, factor_HH) + widening * squared_lengths(dz_NH)
    return shared_N, widened(shared_N, variance_N)


def test_a_population_that_was_never_asked_gets_calibrated_probabilities() -> None:
    """The eighth of eight, in 16 worlds.

    A mean over worlds: how a drift happens to lie to w makes one population surer than the shared
    head can know, another less so.
    """
    excess, plain, gain = [], [], []
    for seed in range(16):
        shared_N, delta_N = never_asked(seed, [SIZE] * (SOURCES - 1), "uniform", DRIFT)
        excess.append(ece(delta_N) - noise_floor(delta_N))
        plain.append(ece(shared_N) - noise_floor(shared_N))
        gain.append(nll(shared_N) - nll(delta_N))
    assert np.mean(excess) <= 0.02
    assert np.mean(excess) < np.mean(plain) / 2
    assert np.mean(gain) > 0.005


@pytest.mark.parametrize(
    ("shares", "drift", "noise"),
    [
        ("uniform", DRIFT, 1.0),
        ("proportional", DRIFT, 1.0),
        ("uniform", [0.1, 0.3, 0.1, 0.3, 0.1, 0.3, 0.2, 0.2], 1.0),
        ("uniform", DRIFT, [1, 1, 1, 3, 1, 1, 1, 1]),
    ],
)
def test_populations_of_different_size_drift_and_noise_calibrate_the_unknown_one(
    shares: str, drift: float | Sequence[float], noise: float | Sequence[float]
) -> None:
    """One whose own drift and noise are usual ones.

    Not within 0.02, as nothing says how unlike the others it is: with three times their noise
    (0.06), or, where theirs are 0.1 and 0.3, with a drift of 0.3 (0.021). Nor where two of seven
    have three times the noise (0.021).
    """
    sizes = [2_000, 1_000, 500, 300, 200, 100, 50]
    delta_SN = [never_asked(seed, sizes, shares, drift, noise)[1] for seed in range(16)]
    assert np.mean([ece(delta_N) - noise_floor(delta_N) for delta_N in delta_SN]) <= 0.02


def noise_floor(delta_N: NDArray[np.float64]) -> float:
    """The ECE of a perfectly calibrated model with these confidences."""
    return float(calibrated_replicates({"ece": ece}, delta_N, 0, 50)["ece"].mean())


def test_the_widening_is_about_the_variance_of_the_drifts() -> None:
    """A little less: the joint optimum draws w itself towards 0 where populations differ."""
    rng = np.random.default_rng(0)
    pairs = world_pairs(rng, drawn_heads(rng, 30, 16, 0.4, 0.4), [200] * 30)
    ridge = Ridge(1 / (6_000 * 0.16), 1 / (6_000 * 0.16))
    heads = fit_heads(pairs, ridge)
    found = fitted_factor(pairs, ridge, heads) * drift_variance(heads.drift_KH)
    assert 0.6 <= found / 0.16 <= 1


def test_populations_alike_need_no_widening() -> None:
    rng = np.random.default_rng(0)
    alike = drawn_heads(rng, 4, HIDDEN, SHARED, 0.0)
    pairs = world_pairs(rng, alike, [500] * 4)
    ridge = Ridge(RIDGE.shared, 1.0)
    heads = fit_heads(pairs, ridge)
    assert fitted_factor(pairs, ridge) * drift_variance(heads.drift_KH) < 0.1 * DRIFT**2


def test_what_is_left_out_has_no_say(pairs: Pairs) -> None:
    """Neither in the heads, nor in how sure they are, nor in tau^2."""
    turned = pairs.dz_NH.copy()
    turned[pairs.source_N == 2] *= -3
    other = make_pairs(turned, pairs.source_N, pairs.names)
    one, another = (leave_out(given, 2, RIDGE) for given in (pairs, other))
    np.testing.assert_allclose(one.heads.shared_H, another.heads.shared_H, atol=1e-6)
    np.testing.assert_allclose(one.factor_HH, another.factor_HH, atol=1e-6)
    assert one.drift_variance == pytest.approx(another.drift_variance, abs=1e-7)


def test_warm_starts_change_nothing(pairs: Pairs) -> None:
    cold = fitted_factor(pairs, RIDGE)
    warm = fitted_factor(pairs, RIDGE, fit_heads(pairs, RIDGE))
    assert warm == pytest.approx(cold, rel=1e-3)


def test_lengths() -> None:
    dz_NH = np.array([[3, 4], [0, 2]], dtype=np.float32)
    np.testing.assert_array_equal(squared_lengths(dz_NH), [25, 4])


@pytest.mark.parametrize("drift_ridge", [0.1, np.inf])
def test_nothing_to_leave_out_is_one_line(pairs: Pairs, drift_ridge: float) -> None:
    given = pairs if np.isinf(drift_ridge) else make_pairs(np.eye(2), np.zeros(2, int), ["a"])
    with pytest.raises(
        UserError,
        match=r"^an unknown population's variance needs two sources or more, with drifts$",
    ):
        leave_each_out(given, Ridge(0.1, drift_ridge))


def test_how_unknown_a_source_is_the_others_say_alone(pairs: Pairs) -> None:
    turned = pairs.dz_NH.copy()
    turned[pairs.source_N == 0] *= -1
    other = make_pairs(turned, pairs.source_N, pairs.names)
    found, without = (factors_of_strangers(given, RIDGE) for given in (pairs, other))
    assert found[0] == pytest.approx(without[0], rel=1e-3)
    assert found[1] != pytest.approx(without[1], rel=1e-3)


def test_the_drift_of_what_is_left_out_is_not_counted_as_none(pairs: Pairs) -> None:
    found = leave_out(pairs, 0, RIDGE)
    assert not found.heads.drift_KH[0].any()
    assert found.drift_variance == pytest.approx(drift_variance(found.heads.drift_KH[1:]))


def test_each_source_counts_the_same_whatever_its_share(pairs: Pairs) -> None:
    left_out = leave_each_out(pairs, RIDGE)
    sizes_K = np.arange(1.0, 1 + len(pairs.names))
    shares = (np.full(len(sizes_K), 1 / len(sizes_K)), sizes_K / sizes_K.sum())
    one, other = (unknown_factor(replace(pairs, share_K=share_K), left_out) for share_K in shares)
    assert one == other
