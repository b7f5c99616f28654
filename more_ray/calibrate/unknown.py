"""People who were never asked: the shared head, and the variance of a drift that nobody knows.

In the paper's model (4) a new population is `r* + drift`. Its reward difference has the shared
head's mean, and the shared head's variance plus `c tau^2 |dz|^2`: tau^2 is the mean square of the
fitted drifts, which the ridge holds small, and c makes up for that. c is what leaving each source
out in turn asks for.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
) -> LeftOut:
    """Heads, posterior and tau^2 of the other sources (`fit_heads` says what the rest is)."""
    others = pairs.without(source)
    heads = fit_heads(others, ridge, prior_H, start, spectrum)
    tau2 = drift_variance(np.delete(heads.drift_KH, source, axis=0))
    return LeftOut(heads, shared_laplace(others, heads, ridge), tau2)


def leave_each_out(
    pairs: Pairs,
    ridge: Ridge,
    prior_H: Floats | None = None,
    start: Heads | None = None,
    spectrum: Spectrum | None = None,
) -> list[LeftOut]:
    """What the others say about each source in turn (`fit_heads` says what the arguments are).

    Raises:
        UserError: a single source, or no drifts (an infinite ridge): there is no unknown one.
    """
    if len(pairs.names) < 2 or np.isinf(ridge.drift):
        raise UserError("an unknown population's variance needs two sources or more, with drifts")
    spectrum = spectrum or pooled_spectrum(pairs)
    return [
        leave_out(pairs, source, ridge, prior_H, start, spectrum)
        for source in range(len(pairs.names))
    ]


def unknown_factor(pairs: Pairs, left_out_K: Sequence[LeftOut]) -> float:
    """c in [0, 1e6], for which the NLL of left-out sources, mean over sources, is least.

    Args:
        left_out_K: what `leave_each_out` gives for the same pairs.
    """
    delta_N, variance_N, drift_N = (np.empty(len(pairs.dz_NH)) for _ in range(3))
    for source, left_out in enumerate(left_out_K):
        row_n = np.flatnonzero(pairs.source_N == source)
        dz_nH = pairs.dz_NH[row_n]
        delta_N[row_n] = dz_nH @ left_out.heads.shared_H
        variance_N[row_n] = variances(dz_nH, left_out.factor_HH)
        drift_N[row_n] = left_out.drift_variance * squared_lengths(dz_nH)
    return _best_factor(pairs, delta_N, variance_N, drift_N)


def _best_factor(pairs: Pairs, delta_N: Floats, variance_N: Floats, drift_N: Floats) -> float:
    equal = np.full(len(pairs.names), 1 / len(pairs.names))
    count_N = replace(pairs, share_K=equal).count_N

    def nll(factor: float) -> float:
        return float(count_N @ loss(widened(delta_N, variance_N + factor * drift_N), pairs.label_N))

    # Not convex in c: the best of a grid, then the minimum between its neighbours.
    grid = np.concatenate([[0.0], np.geomspace(1e-3, LARGEST, 91)])
    best = int(np.argmin([nll(factor) for factor in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    finer = minimize_scalar(
        nll, bounds=(low, high), method="bounded", options={"xatol": 1e-4 * high}
    )
    return float(min(grid[best], finer.x, key=nll))
