"""The two ridges, by cross-validated NLL over prompts.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from more_ray.calibrate.coordinates import Spectrum, pooled_spectrum
from more_ray.calibrate.heads import fit_heads
from more_ray.calibrate.objective import differences, loss
from more_ray.calibrate.pairs import Floats, Ints, Pairs
from more_ray.errors import DataError
from more_ray.model.heads_file import Heads, Ridge

FACTOR = 10**0.5
"""From one ridge of the grid to the next."""
FARTHEST = 10
"""Steps from the middle of the grid to its edge: five powers of ten."""
GAIN = 1e-4
"""What a step must lower the NLL by: beyond a certain ridge nothing changes any more."""
NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))

Point = tuple[int, int]


@dataclass(frozen=True)
class Choice:
    """The chosen ridges, and how all pairs fare by heads that did not see their prompts."""

    ridge: Ridge
    own_N: Floats
    """Reward differences by the head of a pair's own source."""
    shared_N: Floats
    """The same by the shared head."""
    tried: dict[Ridge, float]
    """Cross-validated NLL of all ridges that were looked at, in their order."""


def choose_ridge(
    pairs: Pairs,
    prompt_N: NDArray[np.integer],
    folds: int = 5,
    seed: int = 0,
    prior_H: Floats | None = None,
    spectrum: Spectrum | None = None,
    drifts: bool = True,
) -> Choice:
    """The ridges of least NLL, `sum_i s_i mean_i L` by the own heads on prompts left out.

    A walk on a grid in powers of `FACTOR`: from one point to the best of its four neighbours, until
    none is better. Its middle is the mean eigenvalue of the pooled curvature, so that features of
    another scale choose the same heads. Every fit begins at that of the neighbour, fold by fold.

    Args:
        pairs: of training; test pairs have no place here.
        prompt_N: a hash of each pair's prompt, 64 bits: pairs of one prompt are left out together.
        spectrum: as in `fit_heads`.
        drifts: False: one head for all, a single ridge.

    Raises:
        DataError: all prompts of a source lie in one fold.
    """
    fold_N = fold_of(prompt_N, folds, seed)
    _check_folds(pairs, fold_N, folds)
    spectrum = spectrum or pooled_spectrum(pairs)
    scale = float(spectrum.value_H.mean())
    fitted: dict[Point, list[Heads]] = {}
    nll: dict[Point, float] = {}

    def ridge_at(point: Point) -> Ridge:
        drift = scale * FACTOR ** point[1] if drifts else np.inf
        return Ridge(scale * FACTOR ** point[0], drift)

    def look(point: Point, neighbour: Point | None) -> None:
        starts = fitted[neighbour] if neighbour else [None] * folds
        fitted[point] = [
            fit_heads(
                pairs.keeping(fold_N != fold),
                ridge_at(point),
                prior_H,
                start,
                spectrum,
                tolerance=np.inf,
            )
            for fold, start in enumerate(starts)
        ]
        own_N, _ = _held_out(pairs, fold_N, fitted[point])
        nll[point] = float(pairs.count_N @ loss(own_N, pairs.label_N))

    at = (0, 0)
    look(at, None)
    while True:
        around = [(at[0] + one, at[1] + other) for one, other in NEIGHBOURS if drifts or not other]
        around = [point for point in around if max(map(abs, point)) <= FARTHEST]
        for point in around:
            if point not in nll:
                look(point, at)
        best = min(around, key=nll.__getitem__)
        if nll[best] > nll[at] - GAIN:
            break
        at = best
    own_N, shared_N = _held_out(pairs, fold_N, fitted[at])
    tried = {ridge_at(point): value for point, value in nll.items()}
    return Choice(ridge_at(at), own_N, shared_N, tried)


def fold_of(prompt_N: NDArray[np.integer], folds: int, seed: int) -> Ints:
    """`[N]` folds, a function of a prompt's hash and the seed alone (mixed as in splitmix64)."""
    mixed_N = prompt_N.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed_N = (mixed_N ^ (mixed_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed_N = (mixed_N ^ (mixed_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed_N ^ (mixed_N >> np.uint64(31))) % np.uint64(folds)).astype(np.int64)


def _check_folds(pairs: Pairs, fold_N: Ints, folds: int) -> None:
    for source, name in enumerate(pairs.names):
        used = np.unique(fold_N[pairs.source_N == source])
        if len(used) < 2:
            raise DataError(
                f"source {name!r} has too few prompts to cross-validate: all are in one fold of "
                f"{folds}; leave it out (data.train_on), or give it more"
            )


def _held_out(pairs: Pairs, fold_N: Ints, fitted: list[Heads]) -> tuple[Floats, Floats]:
    """Reward differences of all pairs by the own and by the shared head of their fold."""
    own_N, shared_N = np.empty(len(fold_N)), np.empty(len(fold_N))
    for fold, heads in enumerate(fitted):
        row_n = np.flatnonzero(fold_N == fold)
        dz_nH, source_n = pairs.dz_NH[row_n], pairs.source_N[row_n]
        own_N[row_n] = differences(dz_nH, source_n, heads.own_KH)
        shared_N[row_n] = dz_nH @ heads.shared_H
    return own_N, shared_N
