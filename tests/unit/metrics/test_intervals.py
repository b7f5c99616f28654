from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from more_ray.metrics.accuracy import accuracy
from more_ray.metrics.calibration import brier, ece, nll, sigmoid
from more_ray.metrics.intervals import (
    calibrated_replicates,
    calibration_interval,
    detectable,
    interval,
    paired_difference,
    replicates,
    student,
)
from more_ray.metrics.temperature import fit_temperature, temperature_scaled


def calibrated_deltas(seed: int, pairs: int, spread: float = 0.8) -> NDArray[np.float64]:
    """Scores of a model that knows the true probability of every label."""
    rng = np.random.default_rng(seed)
    delta_N = rng.normal(0.0, spread, pairs)
    return np.where(rng.random(pairs) < sigmoid(delta_N), delta_N, -delta_N)


def test_a_detectable_effect_is_found_in_four_of_five_studies() -> None:
    rng = np.random.default_rng(0)
    effect = detectable(student(rng.standard_normal(100_000))) * np.sqrt(100_000 / 200)
    found = [student(effect + rng.standard_normal(200))[0] > 0 for _ in range(4_000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("sharpness", [1.0, 1.2, 1.5, 2.5])
def test_intervals_cover_the_true_ece(sharpness: float) -> None:
    """For calibrated models (truth 0) and for ones that are too sure, 500 pairs each."""
    truth = ece(sharpness * calibrated_deltas(999, 1_000_000)) if sharpness > 1 else 0.0
    covered = 0
    for seed in range(200):
        delta_N = sharpness * calibrated_deltas(seed, 500)
        values = replicates({"ece": ece}, (delta_N,), seed, 100)["ece"]
        calibrated = calibrated_replicates({"ece": ece}, delta_N, seed, 100)["ece"]
        low, high = calibration_interval(ece(delta_N), values, calibrated)
        covered += low <= truth <= high
    assert 0.92 <= covered / 200 <= 0.995


@pytest.mark.parametrize("measure", [nll, brier])
def test_intervals_cover_the_true_mean(measure: Any) -> None:
    truth = measure(calibrated_deltas(999, 1_000_000))
    covered = 0
    for seed in range(200):
        delta_N = calibrated_deltas(seed, 300)
        values = replicates({"": measure}, (delta_N,), seed, 200)[""]
        low, high = interval(measure(delta_N), values)
        covered += low <= truth <= high
    assert 0.91 <= covered / 200 <= 0.985


def test_the_noise_floor_is_what_calibrated_models_score() -> None:
    scored = [ece(calibrated_deltas(seed, 2_000)) for seed in range(200)]
    delta_N = calibrated_deltas(0, 2_000)
    floor = calibrated_replicates({"ece": ece}, delta_N, seed=0, resamples=500)["ece"].mean()
    assert floor == pytest.approx(0.015, abs=0.002)
    assert floor == pytest.approx(np.mean(scored), abs=4 * np.std(scored) / np.sqrt(200))


def test_resampling_is_fixed_by_the_seed() -> None:
    arrays = (calibrated_deltas(0, 50),)
    one, same, other = (replicates({"ece": ece}, arrays, seed, 20)["ece"] for seed in (5, 5, 6))
    assert (one == same).all()
    assert (one != other).any()


def test_a_paired_test_finds_a_difference_that_is_there_and_none_that_is_not() -> None:
    delta_N = calibrated_deltas(0, 400)
    sharper = [(4 * delta_N[:, None], delta_N[:, None])]
    sure = paired_difference(nll, sharper, seed=0, resamples=300)
    assert sure["difference"] > 0
    assert sure["ci"][0] > 0
    assert sure["p"] < 0.01
    same = paired_difference(
        accuracy, [(4 * delta_N[:, None], delta_N[:, None])], seed=0, resamples=300
    )
    assert (same["difference"], same["p"]) == (0, 1)


def test_p_values_of_equally_good_models_are_uniform() -> None:
    """Each of 100 pairs of models scores the same pairs with noise of its own."""
    p_values = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth_N = calibrated_deltas(seed, 100)
        one_N, other_N = (truth_N + rng.normal(size=100) for _ in range(2))
        p_values.append(
            paired_difference(nll, [(one_N[:, None], other_N[:, None])], seed, 100)["p"]
        )
    assert np.mean(np.array(p_values) < 0.05) <= 0.12
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.12)


def test_temperature_of_a_model_that_is_too_sure() -> None:
    delta_N = 3 * calibrated_deltas(0, 20_000)
    assert fit_temperature(delta_N) == pytest.approx(3, rel=0.05)
    scaled_N, temperature = temperature_scaled(delta_N, seed=0)
    assert temperature == pytest.approx(3, rel=0.05)
    assert ece(scaled_N) < 0.02 < ece(delta_N)


def test_the_noise_floor_of_a_model_that_is_quite_sure() -> None:
    delta_N = np.array([100.0, 100.0, -100.0])
    measures: Any = {"ece": partial(ece, bins=10)}
    assert calibrated_replicates(measures, delta_N, 0, 10)["ece"] == pytest.approx(0)


def test_temperature_of_a_model_that_is_always_wrong_or_right() -> None:
    assert fit_temperature(np.array([-1.0, -2.0])) == pytest.approx(1_000)
    assert fit_temperature(np.array([1.0, 2.0])) < 0.01


def test_a_pair_has_no_part_in_its_own_temperature() -> None:
    delta_N = np.random.default_rng(0).normal(loc=1, scale=2, size=40)
    scaled_N, _ = temperature_scaled(delta_N, seed=0)
    for number in range(len(delta_N)):
        changed_N = delta_N.copy()
        changed_N[number] *= -3
        again_N, _ = temperature_scaled(changed_N, seed=0)
        own = again_N[number] / changed_N[number]
        assert own == pytest.approx(scaled_N[number] / delta_N[number], rel=1e-12)
        assert not np.allclose(again_N / changed_N, scaled_N / delta_N, rtol=1e-6)
