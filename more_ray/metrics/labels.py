"""What is known of pairs beyond a hard label: shares of votes, and what a pair counts.

All measures take both as keywords, and without them are those of hard labels and equal pairs.

Legend: N pairs.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Labels(TypedDict, total=False):
    """Only what is there: nothing for hard labels and equal pairs."""

    share_N: Floats
    """Which share of the votes the chosen answer has: 1 for a hard label, 0.5 for a tie."""
    weight_N: Floats
    """What a pair counts beside others."""


def taken(labels: Labels, row_n: NDArray[np.integer | np.bool_]) -> Labels:
    """Those of some rows, by index or mask."""
    some: Labels = {}
    if "share_N" in labels:
        some["share_N"] = labels["share_N"][row_n]
    if "weight_N" in labels:
        some["weight_N"] = labels["weight_N"][row_n]
    return some


def weighted_mean(
    value_N: NDArray[np.floating] | NDArray[np.bool_], weight_N: Floats | None = None
) -> float:
    """`sum w x / sum w`."""
    return float(np.mean(value_N) if weight_N is None else np.average(value_N, weights=weight_N))


def mean_of_decided(
    value_N: NDArray[np.floating] | NDArray[np.bool_],
    share_N: Floats | None,
    weight_N: Floats | None,
) -> float:
    """The mean over pairs that are no tie; one half, as of guesses, where all are ties."""
    if share_N is None:
        return weighted_mean(value_N, weight_N)
    decided = share_N != 0.5
    if not decided.any():
        return 0.5
    return weighted_mean(value_N[decided], None if weight_N is None else weight_N[decided])


def decided_pairs(pairs: int, share_N: Floats | None = None, weight_N: Floats | None = None) -> int:
    """How many pairs that are no tie; of different weights, as many equal ones as tell as much.

    That is `(sum w)^2 / sum w^2` (Kish, "Survey Sampling", 1965), to the nearest whole number.
    """
    counted_N = np.ones(pairs) if weight_N is None else weight_N
    if share_N is not None:
        counted_N = counted_N[share_N != 0.5]
    return round(counted_N.sum() ** 2 / np.square(counted_N).sum()) if len(counted_N) else 0
