"""Which rows of which source make up the batch of a step: pure functions of the seed.

No state is kept between steps, so a run can resume at any step, and any number of ranks sees
the same global batches. Legend: K sources.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

GROUP = 256
"""Rows that are read together: pairs of one step come from one or two groups of a source."""


@dataclass(frozen=True)
class Mixture:
    """The order of all training pairs of a run.

    With `resample`, a step takes `pairs_per_source` pairs of each source; smaller sources begin
    again, in another order, until the largest has been read `epochs` times. Without it, a step
    takes K times as many pairs in total, from each source in proportion to its size, and every
    pair comes exactly once per epoch.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    pairs_per_source: int
    epochs: int
    resample: bool
    seed: int
    first_rows: tuple[NDArray[np.int64] | None, ...] = ()
    """Of a source whose records rank more than two answers: the first row of each record. Its pairs
    come together, and count as one pair where pairs are counted. None, or nothing at all, where
    every row is a record of its own."""

    @property
    def ranked(self) -> bool:
        """Whether any source has records with more than one pair."""
        return any(first is not None for first in self.first_rows)

    @property
    def records(self) -> tuple[int, ...]:
        """Number of records of each source."""
        return tuple(
            size if first is None else len(first)
            for first, size in zip(self._first_rows, self.sizes, strict=True)
        )

    @property
    def steps(self) -> int:
        """Number of micro-batches in the run."""
        if self.resample:
            return -(-max(self.records) * self.epochs // self.pairs_per_source)
        return self._steps_per_epoch * self.epochs

    @property
    def fewest_pairs(self) -> int:
        """Number of pairs, or records, in the smallest global micro-batch."""
        if self.resample:
            return self.pairs_per_source * len(self.sizes)
        return min(
            sum(len(self._positions(step, size)) for size in self.records)
            for step in range(self._steps_per_epoch)
        )

    @property
    def _steps_per_epoch(self) -> int:
        return -(-sum(self.records) // (self.pairs_per_source * len(self.sizes)))

    def rows(self, step: int) -> list[np.ndarray]:
        """Row numbers of each of the K sources in the global micro-batch of `step`."""
        return [row_N for row_N, _ in self.drawn(step)]

    def drawn(self, step: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """As `rows`, and of each row which of the drawn records it belongs to, counted from 0."""
        records = [
            np.array(
                [
                    _row(f"{self.seed}/{name}", position // size, position % size, size)
                    for position in self._positions(step, size)
                ],
                dtype=np.int64,
            )
            for name, size in zip(self.names, self.records, strict=True)
        ]
        parts = zip(records, self._first_rows, self.sizes, strict=True)
        return [
            (record, np.arange(len(record)))
            if first is None
            else _rows_of(record, np.append(first, size))
            for record, first, size in parts
        ]

    @property
    def _first_rows(self) -> tuple[NDArray[np.int64] | None, ...]:
        return self.first_rows or (None,) * len(self.names)

    def _positions(self, step: int, size: int) -> range:
        if self.resample:
            return range(step * self.pairs_per_source, (step + 1) * self.pairs_per_source)
        steps = self._steps_per_epoch
        epoch, inside = divmod(step, steps)
        start = epoch * size
        return range(start + inside * size // steps, start + (inside + 1) * size // steps)


def _rows_of(
    records: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of records, one after the other, as in `drawn`; record r begins at `ends[r]`."""
    rows = [np.arange(ends[record], ends[record + 1]) for record in records]
    row_N = np.concatenate([np.empty(0, np.int64), *rows])
    return row_N, np.repeat(np.arange(len(rows)), [len(of_record) for of_record in rows])


def _row(key: str, epoch: int, position: int, size: int) -> int:
    """The row at a position in an epoch: groups in random order, rows in random order in each."""
    order, start = _group_order(key, epoch, size)
    slot = int(np.searchsorted(start, position, side="right")) - 1
    inside = _inside_group(key, epoch, int(order[slot]), size)
    return int(order[slot]) * GROUP + int(inside[position - start[slot]])


@lru_cache(maxsize=128)
def _group_order(key: str, epoch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    order = _generator(key, epoch).permutation(-(-size // GROUP))
    lengths = np.minimum(GROUP, size - order * GROUP)
    return order, np.concatenate([[0], np.cumsum(lengths)[:-1]])


@lru_cache(maxsize=512)
def _inside_group(key: str, epoch: int, group: int, size: int) -> np.ndarray:
    return _generator(key, epoch, group).permutation(min(GROUP, size - group * GROUP))


def _generator(key: str, *numbers: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(key.encode()), *numbers])


def deal(tokens: Sequence[np.ndarray], ranks: int) -> list[np.ndarray]:
    """Deal the pairs of a global batch out to the ranks, so that all have about equal work.

    The pairs of each source are dealt longest first, back and forth over the ranks (a snake):
    ranks get equal counts of every source up to one round, and nearly equal tokens.

    Args:
        tokens: for each of the K sources, the tokens of its pairs.

    Returns:
        For each source the rank of each of its pairs.
    """
    dealt = 0
    result = []
    for count in tokens:
        position = dealt + np.arange(len(count))
        turn, seat = np.divmod(position, ranks)
        rank = np.empty(len(count), dtype=np.int64)
        rank[np.argsort(-count, kind="stable")] = np.where(turn % 2, ranks - 1 - seat, seat)
        result.append(rank)
        dealt += len(count)
    return result
