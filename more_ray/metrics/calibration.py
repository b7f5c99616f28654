"""Calibration of a reward model: does `sigmoid(delta)` mean what it says?

Every function reads `delta_N = chosen score - rejected score`. The model prefers the answer with
the higher score, with confidence `max(p, 1 - p)` where `p = sigmoid(delta)`, and is right when
`delta > 0`. Binning `p` itself against `delta > 0` would measure nothing: `p` determines
whether `delta > 0`, and a perfectly calibrated model scores 0.3 to 0.4 that way.

Legend: N pairs, M bins.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Number = TypeVar("Number", Floats, float)


def sigmoid(x_N: Number) -> Number:
    """The logistic function of `x_N`, `[N]`, without overflow."""
    return np.exp(-np.logaddexp(0.0, -x_N))


def ece(delta_N: Floats, bins: int = 10) -> float:
    """Expected calibration error: `sum_m |B_m|/N * |accuracy(B_m) - confidence(B_m)|`.

    The `bins` are of equal length on [0, 1]; a confidence is at least 0.5, so ten bins have five in
    use. For an even number of bins this equals the two-sided form over the points
    `(sigmoid(delta), 1)` and `(sigmoid(-delta), 0)`. (For an odd number it does not: the two-sided
    form always finds the middle bin perfect.)
    """
    gap_N, bin_N = _gaps(delta_N, bins)
    # |B_m|/N cancels the mean's 1/|B_m|, so sums are enough.
    return float(np.abs(np.bincount(bin_N, weights=gap_N, minlength=bins)).sum() / len(delta_N))


def adaptive_ece(delta_N: Floats, bins: int = 10) -> float:
    """The ECE over bins with equal numbers of pairs, by confidence (Nixon et al., 2019)."""
    confidence_N = sigmoid(np.abs(delta_N))
    order = np.argsort(confidence_N, kind="stable")
    gap_N = (confidence_N - (delta_N > 0))[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gap_N, bins)) / len(delta_N))


def debiased_ece(delta_N: Floats, bins: int = 10) -> float:
    """`ece` minus the bias expected from sampling, at least 0 (Kumar et al., 2019).

    The accuracy of a bin of n pairs scatters about its true value with variance `a (1 - a) / n`,
    assumed normal, so the mean of a gap's absolute value exceeds the true gap.
    """
    gap_N, bin_N = _gaps(delta_N, bins)
    count_M, gap_M, right_M = (
        np.bincount(bin_N, weights=weight, minlength=bins) for weight in (None, gap_N, delta_N > 0)
    )
    used = count_M > 0
    count_M, gap_M, right_M = count_M[used], gap_M[used], right_M[used]
    gap_M, accuracy_M = np.abs(gap_M / count_M), right_M / count_M
    scatter_M = np.sqrt(accuracy_M * (1 - accuracy_M) / count_M)
    excess_M = _mean_absolute_normal(gap_M, scatter_M) - gap_M
    return max(0.0, float(count_M @ (gap_M - excess_M)) / len(delta_N))


def _mean_absolute_normal(mean_M: Floats, deviation_M: Floats) -> Floats:
    """`E|X|` for normal X with these means and standard deviations."""
    ratio_M = np.minimum(mean_M / np.maximum(deviation_M, 1e-300), 40.0)
    inside_M = np.vectorize(math.erf, otypes=[float])(ratio_M / math.sqrt(2))
    return deviation_M * math.sqrt(2 / math.pi) * np.exp(-(ratio_M**2) / 2) + mean_M * inside_M


def brier(delta_N: Floats) -> float:
    """The Brier score, the mean of `(1 - sigmoid(delta))^2`: 0.25 where all scores are equal."""
    return float(np.mean(sigmoid(-delta_N) ** 2))


def nll(delta_N: Floats) -> float:
    """The mean of `-log sigmoid(delta)`: the paper's ranking loss, equation (1)."""
    return float(np.mean(np.logaddexp(0.0, -delta_N)))


def true_calibration_error(delta_N: Floats, probability_N: Floats) -> float:
    """The mean of `|sigmoid(delta) - probability|`, for simulated data where it is known.

    `probability_N` is the true probability that the chosen answer of each pair is preferred.
    """
    return float(np.mean(np.abs(sigmoid(delta_N) - probability_N)))


def _confidences(delta_N: Floats, bins: int) -> tuple[Floats, Ints]:
    """The confidence of each pair, and which bin `(m/M, (m+1)/M]` it falls into."""
    confidence_N = sigmoid(np.abs(delta_N))
    edges = np.linspace(0.0, 1.0, bins + 1)
    return confidence_N, np.searchsorted(edges, confidence_N, side="left") - 1


def _gaps(delta_N: Floats, bins: int) -> tuple[Floats, Ints]:
    """Confidence minus correctness of each pair, and its bin."""
    confidence_N, bin_N = _confidences(delta_N, bins)
    return confidence_N - (delta_N > 0), bin_N
