"""Calibration of a reward model: does `sigmoid(delta)` mean what it says?

Every function reads `delta_N = chosen score - rejected score`. The model prefers the answer with
the higher score, with confidence `max(p, 1 - p)` where `p = sigmoid(delta)`, and is right when
`delta > 0`. Binning `p` itself against `delta > 0` would measure nothing: `p` determines
whether `delta > 0`, and a perfectly calibrated model scores 0.3 to 0.4 that way.

Where the votes for the chosen answer are known, correctness is the share of votes for the answer
that the model prefers, and the errors are errors to that share. Pairs may have weights.

Legend: N pairs, M bins.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from more_ray.metrics.labels import Floats, weighted_mean

Ints = NDArray[np.int64]
Number = TypeVar("Number", Floats, float)


def sigmoid(x_N: Number) -> Number:
    """The logistic function of `x_N`, `[N]`, without overflow."""
    return np.exp(-np.logaddexp(0.0, -x_N))


def ece(
    delta_N: Floats,
    bins: int = 10,
    share_N: Floats | None = None,
    weight_N: Floats | None = None,
) -> float:
    """Expected calibration error: `sum_m |B_m|/N * |accuracy(B_m) - confidence(B_m)|`.

    The `bins` are of equal length on [0, 1]; a confidence is at least 0.5, so ten bins have five in
    use. For an even number of bins this equals the two-sided form over the points
    `(sigmoid(delta), 1)` and `(sigmoid(-delta), 0)`. (For an odd number it does not: the two-sided
    form always finds the middle bin perfect.)
    """
    confidence_N, bin_N = _confidences(delta_N, bins)
    gap_N, total = _weighted(confidence_N - correctness(delta_N, share_N), weight_N)
    # |B_m|/N cancels the mean's 1/|B_m|, so sums are enough.
    return float(np.abs(np.bincount(bin_N, weights=gap_N, minlength=bins)).sum() / total)


def adaptive_ece(
    delta_N: Floats,
    bins: int = 10,
    share_N: Floats | None = None,
    weight_N: Floats | None = None,
) -> float:
    """The ECE over bins with equal numbers of pairs, by confidence (Nixon et al., 2019)."""
    confidence_N = sigmoid(np.abs(delta_N))
    order = np.argsort(confidence_N, kind="stable")
    gap_N, total = _weighted(confidence_N - correctness(delta_N, share_N), weight_N)
    return float(sum(abs(part.sum()) for part in np.array_split(gap_N[order], bins)) / total)


def debiased_ece(
    delta_N: Floats,
    bins: int = 10,
    share_N: Floats | None = None,
    weight_N: Floats | None = None,
) -> float:
    """`ece` minus the bias expected from sampling, at least 0 (Kumar et al., 2019).

    The accuracy a of a bin of n pairs scatters about its true value with variance `a (1 - a) / n`,
    of shares s by `mean s (1 - s) / n` less, assumed normal, so the mean of a gap's absolute value
    exceeds the true gap. Of weights w, n is `(sum w)^2 / sum w^2`.
    """
    confidence_N, bin_N = _confidences(delta_N, bins)
    right_N = correctness(delta_N, share_N)
    one_N = np.ones(len(delta_N)) if weight_N is None else weight_N
    values_N = (one_N, one_N**2, *(one_N * x_N for x_N in (confidence_N - right_N, right_N)))
    sums_M = (np.bincount(bin_N, weights=value_N, minlength=bins) for value_N in values_N)
    between_M = np.bincount(bin_N, weights=one_N * right_N * (1 - right_N), minlength=bins)
    count_M, count2_M, gap_M, right_M = sums_M
    used = count_M > 0
    count_M, count2_M, gap_M, right_M, between_M = (
        sum_M[used] for sum_M in (count_M, count2_M, gap_M, right_M, between_M)
    )
    gap_M, accuracy_M = np.abs(gap_M / count_M), right_M / count_M
    variance_M = np.maximum(accuracy_M * (1 - accuracy_M) - between_M / count_M, 0)
    scatter_M = np.sqrt(variance_M / (count_M**2 / count2_M))
    excess_M = _mean_absolute_normal(gap_M, scatter_M) - gap_M
    return max(0.0, float(count_M @ (gap_M - excess_M)) / float(count_M.sum()))


def _mean_absolute_normal(mean_M: Floats, deviation_M: Floats) -> Floats:
    """`E|X|` for normal X with these means and standard deviations."""
    ratio_M = np.minimum(mean_M / np.maximum(deviation_M, 1e-300), 40.0)
    inside_M = np.vectorize(math.erf, otypes=[float])(ratio_M / math.sqrt(2))
    return deviation_M * math.sqrt(2 / math.pi) * np.exp(-(ratio_M**2) / 2) + mean_M * inside_M


def brier(delta_N: Floats, share_N: Floats | None = None, weight_N: Floats | None = None) -> float:
    """The Brier score, the mean of `(1 - sigmoid(delta))^2`: 0.25 where all scores are equal.

    Of shares s the mean of `(s - sigmoid(delta))^2`.
    """
    other_N = sigmoid(-delta_N)
    error_N = other_N if share_N is None else other_N - (1 - share_N)
    return weighted_mean(error_N**2, weight_N)


def nll(delta_N: Floats, share_N: Floats | None = None, weight_N: Floats | None = None) -> float:
    """The mean of `-log sigmoid(delta)`: the paper's ranking loss, equation (1).

    Of shares s the cross-entropy `-s log sigmoid(delta) - (1 - s) log sigmoid(-delta)`.
    """
    loss_N = np.logaddexp(0.0, -delta_N)
    return weighted_mean(loss_N if share_N is None else loss_N + (1 - share_N) * delta_N, weight_N)


def true_calibration_error(
    delta_N: Floats, probability_N: Floats, weight_N: Floats | None = None
) -> float:
    """The mean of `|sigmoid(delta) - probability|`, for simulated data where it is known.

    `probability_N` is the true probability that the chosen answer of each pair is preferred.
    """
    return weighted_mean(np.abs(sigmoid(delta_N) - probability_N), weight_N)


def correctness(delta_N: Floats, share_N: Floats | None = None) -> Floats:
    """`[N]`: the share of votes for the answer that the model prefers; of equal scores the less."""
    if share_N is None:
        return (delta_N > 0).astype(np.float64)
    right_N = np.where(delta_N > 0, share_N, 1 - share_N)
    return np.where(delta_N == 0, np.minimum(share_N, 1 - share_N), right_N)


def _weighted(value_N: Floats, weight_N: Floats | None) -> tuple[Floats, float]:
    """The values times their weights, and the sum of these."""
    if weight_N is None:
        return value_N, len(value_N)
    return weight_N * value_N, float(weight_N.sum())


def _confidences(delta_N: Floats, bins: int) -> tuple[Floats, Ints]:
    """The confidence of each pair, and which bin `(m/M, (m+1)/M]` it falls into."""
    confidence_N = sigmoid(np.abs(delta_N))
    edges = np.linspace(0.0, 1.0, bins + 1)
    return confidence_N, np.searchsorted(edges, confidence_N, side="left") - 1
