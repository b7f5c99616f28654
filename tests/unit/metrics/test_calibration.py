from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from more_ray.metrics.accuracy import accuracy
from more_ray.metrics.baselines import longer_answer_accuracy
from more_ray.metrics.calibration import (
    adaptive_ece,
    brier,
    debiased_ece,
    ece,
    nll,
    sigmoid,
    true_calibration_error,
)
from more_ray.metrics.intervals import wilson


def calibrated_deltas(seed: int, pairs: int = 2000, spread: float = 0.8) -> NDArray[np.float64]:
    """Scores of a model that knows the true probability of every label."""
    rng = np.random.default_rng(seed)
    delta_N = rng.normal(0.0, spread, pairs)
    as_labelled_N = rng.random(pairs) < sigmoid(delta_N)
    return np.where(as_labelled_N, delta_N, -delta_N)


def test_ece_of_a_case_worked_by_hand() -> None:
    """Confidences 0.8, 0.8 (one right, one wrong: gap 0.3) and 0.95 (right: gap 0.05)."""
    delta_N = np.array([np.log(4.0), -np.log(4.0), np.log(19.0)])
    bins = 4  # 0.8 and 0.95 both lie in (0.75, 1]
    assert ece(delta_N, bins) == pytest.approx(abs(0.8 + 0.8 + 0.95 - 2) / 3)
    assert ece(delta_N, 10) == pytest.approx(2 / 3 * 0.3 + 1 / 3 * 0.05)


@pytest.mark.parametrize("spread", [0.3, 0.8, 3.0])
def test_ece_equals_torchmetrics(spread: float) -> None:
    """Its binary form on both orders of each pair; its top-label form, which is float32 inside."""
    delta_N = 1.7 * calibrated_deltas(seed=1, spread=spread)
    chosen_N, rejected_N = torch.from_numpy(sigmoid(delta_N)), torch.from_numpy(sigmoid(-delta_N))
    ones_N = torch.ones(len(delta_N), dtype=torch.long)

    both_orders = torch.cat([chosen_N, rejected_N]), torch.cat([ones_N, 0 * ones_N])
    two_sided = binary_calibration_error(*both_orders, n_bins=10, norm="l1")
    classes_N2 = torch.stack([rejected_N, chosen_N], dim=1)
    top_label = multiclass_calibration_error(classes_N2, ones_N, 2, n_bins=10, norm="l1")

    assert ece(delta_N) == pytest.approx(two_sided.item(), abs=1e-9)
    assert ece(delta_N) == pytest.approx(top_label.item(), abs=1e-6)


def test_the_confidence_trap() -> None:
    """Binned by `p` alone, a perfectly calibrated model looks hopeless; by `max(p, 1 - p)` not."""
    delta_N = calibrated_deltas(seed=0, pairs=20_000)
    p_N, correct_N = sigmoid(delta_N), delta_N > 0
    bin_N = np.ceil(10 * p_N)
    literal = sum(
        abs(np.sum(p_N[bin_N == one] - correct_N[bin_N == one])) for one in range(1, 11)
    ) / len(delta_N)
    assert 0.3 < literal < 0.4
    assert ece(delta_N) < 0.015


def test_adaptive_ece_of_a_case_worked_by_hand() -> None:
    """Two bins of two: confidences 0.6 (right), 0.7 (wrong) and 0.8, 0.9 (both right)."""
    p_N = np.array([0.6, 0.7, 0.8, 0.9])
    delta_N = np.log(p_N / (1 - p_N)) * np.array([1, -1, 1, 1])
    assert adaptive_ece(delta_N, 2) == pytest.approx((abs(1.3 - 1) + abs(1.7 - 2)) / 4)


def test_debiasing_takes_most_of_the_noise_away() -> None:
    """The truth is 0 for calibrated models, and what many pairs say for one that is too sure."""
    calibrated = [calibrated_deltas(seed) for seed in range(100)]
    assert np.mean([*map(debiased_ece, calibrated)]) < 0.7 * np.mean([*map(ece, calibrated)])
    truth = ece(2.5 * calibrated_deltas(seed=999, pairs=1_000_000))
    few = [2.5 * calibrated_deltas(seed, pairs=200) for seed in range(200)]
    assert np.mean([*map(debiased_ece, few)]) == pytest.approx(truth, abs=0.005)
    assert debiased_ece(np.array([100.0, 100.0])) == pytest.approx(0, abs=1e-9)


def test_brier_and_nll_of_a_model_that_knows_nothing() -> None:
    assert brier(np.zeros(3)) == pytest.approx(0.25)
    assert nll(np.zeros(3)) == pytest.approx(np.log(2))


@pytest.mark.filterwarnings("error")
def test_huge_scores_do_not_overflow() -> None:
    delta_N = np.array([1e4, -1e4])
    assert sigmoid(delta_N) == pytest.approx([1.0, 0.0])
    assert nll(delta_N) == pytest.approx(5e3)
    assert brier(delta_N) == pytest.approx(0.5)
    assert ece(delta_N) == pytest.approx(0.5)


def test_true_calibration_error() -> None:
    delta_N = np.array([0.0, np.log(3.0)])
    assert true_calibration_error(delta_N, sigmoid(delta_N)) == 0.0
    assert true_calibration_error(delta_N, np.array([0.6, 0.5])) == pytest.approx(0.175)


def test_a_tie_is_wrong() -> None:
    delta_N = np.array([0.0, 1.0, -1.0, 2.0])
    assert accuracy(delta_N) == 0.5
    assert ece(np.zeros(4)) == 0.5


def test_wilson_interval() -> None:
    """8 of 10 right: the textbook's 0.490 to 0.943. All right: an interval all the same."""
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_longer_answer_accuracy_counts_equal_lengths_one_half() -> None:
    assert longer_answer_accuracy(np.array([5, 3, 4, 9]), np.array([4, 7, 4, 1])) == 0.625
