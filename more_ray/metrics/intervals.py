"""How sure a number is: intervals of shares, means and bootstraps, and a paired test of two models.

Legend: N pairs or other samples, S seeds of a model, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from more_ray.metrics.calibration import correctness, sigmoid
from more_ray.metrics.evaluation import Difference
from more_ray.metrics.labels import Floats, Labels, taken, weighted_mean
from more_ray.metrics.measures import Function

Z_80, Z_95 = 0.8416212335729143, 1.959963984540054
"""Quantiles of the normal distribution: 0.8 and 0.975."""


def wilson(share: float, n: int) -> list[float]:
    """The 95% Wilson interval of a share of n: valid for small n and near 0 or 1, too."""
    if not n:
        return [0.0, 1.0]
    shrink = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / shrink
    half = Z_95 / shrink * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    return [max(0.0, centre - half), min(1.0, centre + half)]


def detectable(ends: Sequence[float]) -> float:
    """The smallest effect that a study with such a 95% interval finds with a probability of 80%."""
    return (ends[1] - ends[0]) / 2 * (1 + Z_80 / Z_95)


def student(value_N: Floats) -> list[float]:
    """Student's 95% interval of the mean of at least two values."""
    from scipy.stats import sem, t

    mean = float(value_N.mean())
    half = float(t.ppf(0.975, len(value_N) - 1) * sem(value_N))
    return [mean - half, mean + half]


def mean_with_interval(value_N: Floats) -> dict[str, Any]:
    """`mean`, `ci` (Student's 95% interval) and `n`; values that are NaN are left out.

    With a single value `ci` is None, without any `mean` too.
    """
    known_N = value_N[~np.isnan(value_N)]
    if not len(known_N):
        return {"mean": None, "ci": None, "n": 0}
    ci = student(known_N) if len(known_N) > 1 else None
    return {"mean": float(known_N.mean()), "ci": ci, "n": len(known_N)}


def replicates(
    measures: Mapping[str, Function],
    arrays: tuple[NDArray[Any], ...],
    seed: int,
    resamples: int,
    **labels: Unpack[Labels],
) -> dict[str, Floats]:
    """`[R]` values of each measure on pairs drawn with replacement, the same for all measures."""
    rng = np.random.default_rng(seed)
    pairs = len(arrays[0])
    values = {name: np.empty(resamples) for name in measures}
    for number in range(resamples):
        draw = rng.integers(pairs, size=pairs)
        drawn, of_drawn = [array[draw] for array in arrays], taken(labels, draw)
        for name, measure in measures.items():
            values[name][number] = measure(*drawn, **of_drawn)
    return values


def calibrated_replicates(
    measures: Mapping[str, Function],
    delta_N: Floats,
    seed: int,
    resamples: int,
    **labels: Unpack[Labels],
) -> dict[str, Floats]:
    """`[R]` values of each measure for a perfectly calibrated model with the same confidences.

    Which answer was chosen is drawn again from `sigmoid(delta)`. The mean of an ECE here is its
    noise floor: it is not zero, since the accuracy of a bin of few pairs
    differs from its confidence by chance. Shares of many votes differ from it by less than single
    labels do: they are drawn as far from the confidence as the given ones are on average.
    """
    rng = np.random.default_rng(seed)
    right_N, preferring_N = sigmoid(np.abs(delta_N)), np.abs(delta_N)
    values = {name: np.empty(resamples) for name in measures}
    scatter = _scatter(right_N, delta_N, **labels)
    for number in range(resamples):
        is_right_N = rng.random(len(delta_N)) < right_N
        drawn_N = preferring_N
        if "share_N" in labels:
            labels["share_N"] = right_N + scatter * (is_right_N - right_N)
        else:
            drawn_N = np.where(is_right_N, 1, -1) * preferring_N
        for name, measure in measures.items():
            values[name][number] = measure(drawn_N, **labels)
    return values


def _scatter(
    right_N: Floats, delta_N: Floats, share_N: Floats | None = None, weight_N: Floats | None = None
) -> float:
    """How far shares lie from confidences, by root mean squares: 1 as of single labels, at most."""
    of_single_labels = weighted_mean(right_N * (1 - right_N), weight_N)
    if share_N is None or not of_single_labels:  # it is 0 where all confidences are 1
        return 1.0
    apart = weighted_mean((correctness(delta_N, share_N) - right_N) ** 2, weight_N)
    return min(1.0, math.sqrt(apart / of_single_labels))


def interval(estimate: float, value_R: Floats) -> list[float]:
    """The 95% basic bootstrap interval: the resamples' quantiles, reflected about the estimate."""
    low, high = np.quantile(value_R, [0.025, 0.975])
    return [float(2 * estimate - high), float(2 * estimate - low)]


def calibration_interval(estimate: float, value_R: Floats, calibrated_R: Floats) -> list[float]:
    """A 95% interval for the true value of a calibration error, which sampling pushes up.

    Resampling pushes it up once more by about as much, so the plain quantiles miss a true value
    near zero nearly always. The lower end is the reflected one, or 0 where a calibrated model
    (`calibrated_R`) would exceed the estimate in more than 5% of cases; the upper end is the
    larger of the plain and the reflected one. The tests simulate how often it covers the truth.
    """
    low, high = np.quantile(value_R, [0.025, 0.975])
    may_be_zero = estimate <= np.quantile(calibrated_R, 0.95)
    least = 0.0 if may_be_zero else max(0.0, 2 * estimate - high)
    return [float(least), float(max(high, 2 * estimate - low))]


def paired_difference(
    measure: Function,
    pairs: Sequence[tuple[Floats, Floats]],
    seed: int,
    resamples: int = 1_000,
    labels: Sequence[Labels] = (),
) -> Difference:
    """What a measure of two models on the same pairs differs by, one less the other.

    Args:
        pairs: for each source, the reward differences `[N, S]` of the first and the second model;
            the measure is averaged over sources.
        labels: for each source, those of its pairs; all are hard and equal where none are given.

    Returns:
        `difference`; `ci`, its basic bootstrap interval over pairs; `p`, two-sided, of a
        permutation test that swaps each pair's reward differences between the models at random.
    """

    def mean_difference(sources: Iterable[tuple[Floats, Floats, Labels]]) -> float:
        return fmean(
            measure(first_NS, **known) - measure(second_NS, **known)
            for first_NS, second_NS, known in sources
        )

    known = labels or [Labels() for _ in pairs]
    given = [(*deltas, of_source) for deltas, of_source in zip(pairs, known, strict=True)]
    difference = mean_difference(given)
    rng = np.random.default_rng(seed)
    value_R = np.empty(resamples)
    as_large = 0
    for number in range(resamples):
        drawn, swapped = [], []
        for first_NS, second_NS, of_source in given:
            draw = rng.integers(len(first_NS), size=len(first_NS))
            drawn.append((first_NS[draw], second_NS[draw], taken(of_source, draw)))
            swap_N1 = rng.random((len(first_NS), 1)) < 0.5
            swapped.append(
                (
                    np.where(swap_N1, second_NS, first_NS),
                    np.where(swap_N1, first_NS, second_NS),
                    of_source,
                )
            )
        value_R[number] = mean_difference(drawn)
        as_large += abs(mean_difference(swapped)) >= abs(difference) - 1e-12
    return {
        "difference": difference,
        "ci": interval(difference, value_R),
        "p": (1 + as_large) / (1 + resamples),
    }
