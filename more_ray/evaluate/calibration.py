"""Calibration of a reward model: does `sigmoid(delta)` mean what it says?

Every function reads `delta_N = chosen score - rejected score`. The model prefers the answer with
the higher score, with confidence `max(p, 1 - p)` where `p = sigmoid(delta)`, and is right when
`delta > 0`. Binning `p` itself against `delta > 0` would be no measure at all: whether `delta > 0`
can be read off `p`, and a perfectly calibrated model scores 0.3 to 0.4 that way.

Legend: N pairs, M bins, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_DRAWS_IN_MEMORY = 2**21


def sigmoid(x_N: Floats) -> Floats:
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
    return float(_ece_of_rows(gap_N[None], bin_N[None], bins)[0])


def ece_interval(
    delta_N: Floats, seed: int, resamples: int = 1000, bins: int = 10
) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of `ece`, over `resamples` draws of the N pairs.

    ECE is a sum of absolute values, so resampling pushes it up just as sampling did: near zero the
    interval lies above the truth, and may lie above the estimate. There, read it together with
    `ece_noise_floor`.
    """
    rng = np.random.default_rng(seed)
    gap_N, bin_N = _gaps(delta_N, bins)
    ece_R = []
    for rows in _chunks(len(delta_N), resamples):
        pick_RN = rng.integers(len(delta_N), size=(rows, len(delta_N)))
        ece_R.append(_ece_of_rows(gap_N[pick_RN], bin_N[pick_RN], bins))
    low, high = np.quantile(np.concatenate(ece_R), [0.025, 0.975])
    return float(low), float(high)


def ece_noise_floor(delta_N: Floats, seed: int, resamples: int = 1000, bins: int = 10) -> float:
    """The ECE that a perfectly calibrated model with these same confidences is expected to have.

    It is not zero, since a bin of few pairs misses its confidence by chance: correctness is drawn
    from `Bernoulli(confidence)`, `resamples` times, and the ECE averaged.
    """
    rng = np.random.default_rng(seed)
    confidence_N, bin_N = _confidences(delta_N, bins)
    total = 0.0
    for rows in _chunks(len(delta_N), resamples):
        correct_RN = rng.random((rows, len(delta_N))) < confidence_N
        bin_RN = np.broadcast_to(bin_N, correct_RN.shape)
        total += _ece_of_rows(confidence_N - correct_RN, bin_RN, bins).sum()
    return float(total / resamples)


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
    """Confidence less correctness of each pair, and its bin."""
    confidence_N, bin_N = _confidences(delta_N, bins)
    return confidence_N - (delta_N > 0), bin_N


def _ece_of_rows(gap_RN: Floats, bin_RN: Ints, bins: int) -> Floats:
    """`[R]`: the ECE of each row. `|B_m|/N` cancels the mean's `1/|B_m|`, so sums are enough."""
    rows, pairs = gap_RN.shape
    cell_RN = bin_RN + bins * np.arange(rows)[:, None]
    sums = np.bincount(cell_RN.ravel(), weights=gap_RN.ravel(), minlength=rows * bins)
    return np.abs(sums.reshape(rows, bins)).sum(axis=1) / pairs


def _chunks(pairs: int, resamples: int) -> Iterator[int]:
    """Splits `resamples` into numbers of rows whose draws fit in memory together."""
    rows = max(1, MAX_DRAWS_IN_MEMORY // pairs)
    for start in range(0, resamples, rows):
        yield min(rows, resamples - start)
