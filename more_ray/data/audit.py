"""What training pairs have in common with test pairs and with each other.

Legend: N training pairs of one source.
"""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


class Repeats(TypedDict):
    """Training pairs of one source that say what another pair says, or the opposite."""

    repeated: int
    """Given before in the same source."""
    contradicted: int
    """By a pair of the same source: the same answers the other way round."""
    contradicted_elsewhere: int
    """By a pair of another source."""


AUDITED: dict[Literal["leaked", "repeated", "contradicted", "contradicted_elsewhere"], str] = {
    "leaked": "leaked",
    "repeated": "twice",
    "contradicted": "contradicted",
    "contradicted_elsewhere": "by others",
}
"""Counts of training pairs, with the headings of their columns."""


class Audit:
    """Counts such pairs among those kept; it must see the test pairs of all sources first."""

    def __init__(self) -> None:
        self._tested: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._trained: dict[str, list[Keys]] = {}

    def see(self, source: str, split: str, pairs: pa.Table) -> None:
        """Take note of pairs that are kept."""
        if split == "test":
            self._tested = np.union1d(self._tested, pairs["prompt"].to_numpy())
        else:
            pairs = pairs.filter(pc.not_equal(pairs["share"], 0.5).fill_null(True))  # no tie
            columns = [pairs[name].to_numpy().astype(np.uint64) for name in ("answers", "swapped")]
            self._trained.setdefault(source, []).append(np.stack(columns, axis=1))

    def leaked(self, pairs: pa.Table) -> NDArray[np.bool_]:
        """`[N]`: training pairs whose prompt is that of a test pair of any source."""
        return np.isin(pairs["prompt"].to_numpy(), self._tested)

    def repeats(self, source: str) -> Repeats:
        """Count a source's training pairs that occur twice or in both orders.

        `repeated` pairs came before in the same source. `contradicted` pairs are there with the
        other answer preferred, in the same source or (`contradicted_elsewhere`) in another one.
        """
        empty = [np.empty((0, 2), np.uint64)]
        mine_N2 = np.concatenate(empty + self._trained.get(source, []))
        others = [keys for name, parts in self._trained.items() if name != source for keys in parts]
        return {
            "repeated": len(mine_N2) - len(np.unique(mine_N2, axis=0)),
            "contradicted": _contradicted(mine_N2, mine_N2),
            "contradicted_elsewhere": _contradicted(mine_N2, np.concatenate(empty + others)),
        }


def _contradicted(mine_N2: Keys, others_N2: Keys) -> int:
    """How many of my pairs are among the others with the other answer preferred.

    Both arrays have two columns: which answers to which prompt, and which of the two is preferred.
    """
    return sum(
        int(np.isin(mine_N2[mine_N2[:, 1] == side, 0], others_N2[others_N2[:, 1] != side, 0]).sum())
        for side in (0, 1)
    )
