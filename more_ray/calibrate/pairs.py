"""What a fit reads: the feature differences of pairs, whose they are, and what they count.

Legend: N pairs, K sources, H hidden size, B pairs of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from more_ray.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 2**17
"""Numbers of a block in float64: 1 MB, so that both products of a pass find it in the cache.
With 4 MB a pass over 20,000 x 4,096 takes 3 to 10 times as long."""


@dataclass(frozen=True)
class Pairs:
    """Pairs in any order; made by `make_pairs`, which checks them."""

    dz_NH: NDArray[np.floating]
    """Last hidden state of the first answer less that of the second, float32 or float64. Sums over
    it are in float64."""
    source_N: Ints
    """Which of the K `names` a pair is of."""
    names: tuple[str, ...]
    share_K: Floats
    """`s_i` of (7): what a source counts, sum 1."""
    label_N: Floats
    """The probability that the first answer is the better one: 1, or its share of the votes."""
    weight_N: Floats
    """What a pair counts within its source."""

    @cached_property
    def count_N(self) -> Floats:
        """`s_i u_n / sum of the source's u`: what a pair counts in the objective, sum 1."""
        total_K = np.bincount(self.source_N, self.weight_N, len(self.names))
        per_weight_K = np.divide(
            self.share_K, total_K, out=np.zeros_like(total_K), where=total_K > 0
        )
        return per_weight_K[self.source_N] * self.weight_N

    @cached_property
    def effective_K(self) -> Floats:
        """How many pairs of equal weight tell as much as a source's: `(sum u)^2 / sum u^2`."""
        total_K = np.bincount(self.source_N, self.weight_N, len(self.names))
        square_K = np.bincount(self.source_N, self.weight_N**2, len(self.names))
        return np.divide(total_K**2, square_K, out=np.zeros_like(total_K), where=square_K > 0)

    @property
    def effective(self) -> float:
        """The same of all pairs and what they count: N where all count the same."""
        return float(1 / (self.count_N**2).sum())

    def keeping(self, keep_N: NDArray[np.bool_]) -> Pairs:
        """The same pairs, of which those left out count nothing: no features are copied."""
        return replace(self, weight_N=np.where(keep_N, self.weight_N, 0.0))

    def without(self, source: int) -> Pairs:
        """The same pairs with one source counting nothing, the others in their proportions."""
        share_K = self.share_K.copy()
        share_K[source] = 0.0
        return replace(self, share_K=share_K / share_K.sum())

    def blocks(self) -> Iterator[tuple[int, Ints, Floats]]:
        """Source, row numbers and features `[B, H]` of all pairs that count, source by source."""
        size = max(1, BLOCK // self.dz_NH.shape[1])
        for source, row_n in enumerate(self._counting):
            for first in range(0, len(row_n), size):
                row_B = row_n[first : first + size]
                yield source, row_B, self.dz_NH[row_B].astype(np.float64, copy=False)

    @cached_property
    def _counting(self) -> list[Ints]:
        counts_N = self.count_N > 0
        return [
            np.flatnonzero(counts_N & (self.source_N == source))
            for source in range(len(self.names))
        ]


def make_pairs(
    dz_NH: NDArray[np.floating],
    source_N: Ints,
    names: Sequence[str],
    shares: str | Sequence[float] = "uniform",
    label_N: NDArray[np.floating] | None = None,
    weight_N: NDArray[np.floating] | None = None,
) -> Pairs:
    """Pairs for `fit_heads`, checked once.

    Args:
        dz_NH: `z_chosen - z_rejected`, float32 or float64; it is not copied.
        source_N: index of each pair's source in `names`.
        shares: `uniform`, `proportional` to the sources' weights, or K numbers above 0, which are
            divided by their sum.
        label_N: probability that the first answer is the better one; 1 where it is not given.
        weight_N: what a pair counts within its source, above 0; 1 where it is not given.

    Raises:
        DataError: a source without pairs, or features that are not finite.
    """
    pairs, sources = len(dz_NH), len(names)
    weight_N = np.ones(pairs) if weight_N is None else np.asarray(weight_N, np.float64)
    label_N = np.ones(pairs) if label_N is None else np.asarray(label_N, np.float64)
    source_N = np.asarray(source_N, np.int64)
    total_K = np.bincount(source_N, weight_N, sources)
    for name, total in zip(names, total_K, strict=True):
        if total == 0:
            raise DataError(f"source {name!r} has no pairs to calibrate with")
    if isinstance(shares, str):
        share_K = {"uniform": np.ones(sources), "proportional": total_K}[shares]
    else:
        share_K = np.asarray(shares, np.float64)
    made = Pairs(dz_NH, source_N, tuple(names), share_K / share_K.sum(), label_N, weight_N)
    for source, row_B, dz_BH in made.blocks():
        wrong_B = ~np.isfinite(dz_BH).all(axis=1)
        if wrong_B.any():
            row = row_B[wrong_B.argmax()]
            raise DataError(f"features of pair {row} (source {names[source]!r}) are not finite")
    return made
