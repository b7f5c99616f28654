"""Populations as in equations (4) to (6), linear in random features: their true heads are known.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from more_ray.calibrate.pairs import Pairs, make_pairs
from more_ray.metrics.calibration import sigmoid
from more_ray.model.heads_file import Heads


def drawn_heads(
    rng: np.random.Generator,
    sources: int,
    hidden: int,
    shared: float,
    drift: float | Sequence[float],
    noise: float | Sequence[float] = 1.0,
) -> Heads:
    """Normal heads; `shared` and `drift` are the standard deviations of their numbers.

    Labels of noise n are those of a head divided by n: so are own heads here, and what that takes
    away from the shared head belongs to their drifts. Drift and noise are one value, or K of them.
    """
    shared_H = shared * rng.standard_normal(hidden)
    drift_KH = np.reshape(drift, (-1, 1)) * rng.standard_normal((sources, hidden))
    noise_K1 = np.reshape(noise, (-1, 1))
    return Heads(shared_H, drift_KH / noise_K1 + (1 / noise_K1 - 1) * shared_H)


def labelled(
    rng: np.random.Generator, pairs: int, head_H: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`[N, H]` normal feature differences whose first answer a population with that head chose."""
    dz_NH = rng.standard_normal((pairs, len(head_H)))
    chosen_N = rng.random(pairs) < sigmoid(dz_NH @ head_H)
    return np.where(chosen_N, 1, -1)[:, None] * dz_NH


def voted(
    rng: np.random.Generator, pairs: int, head_H: NDArray[np.float64], votes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[N, H]` normal feature differences, and the share of votes for the first answer, which most
    of a population with that head prefer."""
    dz_NH = rng.standard_normal((pairs, len(head_H)))
    share_N = rng.binomial(votes, sigmoid(dz_NH @ head_H)) / votes
    side_N = np.where(share_N < 0.5, -1, 1)
    return side_N[:, None] * dz_NH, np.maximum(share_N, 1 - share_N)


def world_pairs(
    rng: np.random.Generator,
    truth: Heads,
    sizes: list[int],
    shares: str | Sequence[float] = "uniform",
) -> Pairs:
    """`sizes[i]` pairs of source i, in a random order."""
    source_N = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    dz_NH = np.empty((len(source_N), len(truth.shared_H)))
    for source, head_H in enumerate(truth.own_KH):
        dz_NH[source_N == source] = labelled(rng, sizes[source], head_H)
    return make_pairs(dz_NH, source_N, [f"source_{number}" for number in range(len(sizes))], shares)
