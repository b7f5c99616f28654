"""How long the texts of a source are, and how often its people chose the longer answer.

Legend: N pairs of one source, T texts, L lengths.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LONGEST = 2**17
"""Longer texts count as texts of so many tokens, which bounds the memory."""


class Lengths(TypedDict):
    """Of all pairs of a source that were kept, for training and for testing.

    A text is a prompt with one answer, as the chat template writes it.
    """

    texts: int
    median: int
    """Tokens of a text before it is cut."""
    percentile_95: int
    cut: int
    """Texts of more than `data.max_length` tokens, which lost their beginning."""
    shared: int
    """Tokens that the two texts of a pair begin with, after the cut: packed, they count once."""
    own: int
    """All other tokens after the cut."""
    compared: int
    """Pairs that are no tie; 0 where only chosen answers were prepared."""
    longer: float
    """Pairs whose chosen answer has more characters; one half for each with as many."""


class LengthCounter:
    """Counts pairs as they pass; its memory does not grow with their number."""

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._texts_L = np.zeros(0, np.int64)
        self._cut = self._shared = self._own = self._compared = 0
        self._longer = 0.0

    def see(self, pairs: pa.Table) -> None:
        """Count pairs that are kept: rows of `PAIR_SCHEMA`, with the lengths of their texts before
        the cut as `uncut`."""
        tokens_T = pairs["uncut"].combine_chunks().flatten().to_numpy()
        texts_L = np.bincount(np.minimum(tokens_T, LONGEST), minlength=len(self._texts_L))
        texts_L[: len(self._texts_L)] += self._texts_L
        self._texts_L = texts_L
        self._cut += int((tokens_T > self._max_length).sum())
        shared = int(pc.sum(pc.list_value_length(pairs["shared"])).as_py() or 0)
        self._shared += shared
        self._own += int(pc.sum(pairs["tokens"]).as_py() or 0) - shared
        is_tie_N = pc.equal(pairs["share"], 0.5).fill_null(False).to_numpy()
        whole_N = (pc.list_value_length(pairs["rejected"]).to_numpy() > 0) & ~is_tie_N
        columns = ("chosen_characters", "rejected_characters")
        chosen_N, rejected_N = (pairs[name].to_numpy()[whole_N] for name in columns)
        self._compared += len(chosen_N)
        self._longer += float((0.5 + 0.5 * np.sign(chosen_N - rejected_N)).sum())

    def lengths(self) -> Lengths:
        """What was counted so far."""
        return {
            "texts": int(self._texts_L.sum()),
            "median": self._percentile(50),
            "percentile_95": self._percentile(95),
            "cut": self._cut,
            "shared": self._shared,
            "own": self._own,
            "compared": self._compared,
            "longer": self._longer,
        }

    def _percentile(self, percent: int) -> int:
        """The least length that so many of all texts do not exceed."""
        shorter_L = np.cumsum(self._texts_L)
        return int(np.searchsorted(100 * shorter_L, percent * self._texts_L.sum()))
