"""People who were never asked: the shared head, and the variance of a drift that nobody knows.

In the paper's model (4) a new population is `r* + drift`. Its reward difference has the shared
head's mean, and the shared head's variance plus `c tau^2 |dz|^2`: tau^2 is the mean square of the
fitted drifts, which the ridge holds small, and c makes up for that. c is what leaving each source
out in turn asks for.

Legend: N pairs, M pairs of the sources that are left out, K sources, H hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from more_ray.calibrate.coordinates import Spectrum, pooled_spectrum
from more_ray.calibrate.heads import fit_heads
from more_ray.calibrate.objective import GRAM_BLOCK, loss
from more_ray.calibrate.pairs import Floats, Pairs
from more_ray.calibrate.posterior import shared_laplace, variances, widened
from more_ray.errors import UserError
from more_ray.model.heads_file import Heads, Ridge, drift_variance

LARGEST = 1e6
"""The largest c: beyond it reward differences are as good as 0, and every probability one half."""


@dataclass(frozen=True)
class LeftOut:
    """What the other sources say about one that is left out."""

    heads: Heads
    """Its own drift is zero."""
    factor_HH: Floats
    """The factor of the shared head's covariance, as in `Posterior`."""
    drift_variance: float
    """tau^2 of the others' drifts."""
    factor: float = 1.0
    """c by the others alone; 1 where only one is left, which cannot say how unlike people are."""

    @property
    def variance(self) -> float:
        """`c tau^2`."""
        return self.factor * self.drift_variance


def squared_lengths(dz_NH: NDArray[np.floating]) -> Floats:
    """`[N]`: `|dz|^2`."""
    size = max(1, GRAM_BLOCK // dz_NH.shape[1])
    return np.concatenate(
        [
            (dz_NH[first : first + size].astype(np.float64) ** 2).sum(axis=1)
            for first in range(0, len(dz_NH), size)
        ]
    )


def leave_out(
    pairs: Pairs,
    source: int,
    ridge: Ridge,
    prior_H: Floats | None = None,
    start: Heads | None = None,
    spectrum: Spectrum | None = None,
    tolerance: float = 1e-8,
) -> LeftOut:
    """Heads, posterior and tau^2 of the other sources (`fit_heads` says what the rest is)."""
    others = pairs.without(source)
    heads = fit_heads(others, ridge, prior_H, start, spectrum, tolerance)
    tau2 = drift_variance(heads.drift_KH[others.share_K > 0])
    return LeftOut(heads, shared_laplace(others, heads, ridge), tau2)


def leave_each_out(
    pairs: Pairs,
    ridge: Ridge,
    prior_H: Floats | None = None,
    start: Heads | None = None,
    spectrum: Spectrum | None = None,
) -> dict[int, LeftOut]:
    """What the others say about each source in turn, of those that count.

    `fit_heads` says what the arguments are.

    Raises:
        UserError: a single source, or no drifts (an infinite ridge): there is no unknown one.
    """
    counting = np.flatnonzero(pairs.share_K)
    if len(counting) < 2 or np.isinf(ridge.drift):
        raise UserError("an unknown population's variance needs two sources or more, with drifts")
    spectrum = spectrum or pooled_spectrum(pairs)
    return {
        int(source): leave_out(pairs, source, ridge, prior_H, start, spectrum)
        for source in counting
    }


def unknown_factor(pairs: Pairs, left_out: Mapping[int, LeftOut]) -> float:
    """c in [0, 1e6], for which the NLL of left-out sources, mean over sources, is least.

    Args:
        left_out: what `leave_each_out` gives for the same pairs.
    """
    rows, delta, variance, drift = [], [], [], []
    for source, others in left_out.items():
        row_n = np.flatnonzero(pairs.source_N == source)
        dz_nH = pairs.dz_NH[row_n]
        rows.append(row_n)
        delta.append(dz_nH @ others.heads.shared_H)
        variance.append(variances(dz_nH, others.factor_HH))
        drift.append(others.drift_variance * squared_lengths(dz_nH))
    equal_K = np.bincount(list(left_out), minlength=len(pairs.names)) / len(left_out)
    row_M = np.concatenate(rows)
    return _best_factor(
        replace(pairs, share_K=equal_K).count_N[row_M],
        pairs.label_N[row_M],
        *map(np.concatenate, (delta, variance, drift)),
    )


def factors_of_strangers(
    pairs: Pairs,
    ridge: Ridge,
    prior_H: Floats | None = None,
    start: Heads | None = None,
    spectrum: Spectrum | None = None,
) -> list[float]:
    """c of each source by the others alone, of which a second one is left out in turn.

    `fit_heads` says what the arguments are.

    Raises:
        UserError: as `leave_each_out`, of fewer than three sources.
    """
    sources = range(len(pairs.names))
    if len(sources) < 3:
        raise UserError("with two sources nobody is left to say how unknown the second one is")
    without_two = {}
    for one, other in combinations(sources, 2):
        found = leave_out(
            pairs.without(one), other, ridge, prior_H, start, spectrum, tolerance=np.inf
        )
        without_two[one, other] = without_two[other, one] = found
    return [
        unknown_factor(
            pairs.without(one),
            {other: without_two[one, other] for other in sources if other != one},
        )
        for one in sources
    ]


def _best_factor(
    count_M: Floats, label_M: Floats, delta_M: Floats, variance_M: Floats, drift_M: Floats
) -> float:
    def nll(factor: float) -> float:
        return float(count_M @ loss(widened(delta_M, variance_M + factor * drift_M), label_M))

    # Not convex in c: the best of a grid, then the minimum between its neighbours.
    grid = np.concatenate([[0.0], np.geomspace(1e-3, LARGEST, 91)])
    best = int(np.argmin([nll(factor) for factor in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    finer = minimize_scalar(
        nll, bounds=(low, high), method="bounded", options={"xatol": 1e-4 * high}
    )
    return float(min(grid[best], finer.x, key=nll))
