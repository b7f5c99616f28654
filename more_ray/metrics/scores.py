"""The scores of test pairs.

Legend: N test pairs of one source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from more_ray.metrics.labels import Labels


@dataclass(frozen=True)
class SourceScores:
    """The scored test pairs of one source, arrays of shape `[N]`.

    `pair_N` names each pair by its content, the same for every model and tokenizer.
    `probability_N`, the true probability that chosen is preferred, is known for simulated data;
    `subset_N` names parts of a test set, None where a pair is in none. `share_N` is the share of
    votes for the chosen answer and `weight_N` what a pair counts: None for hard labels and for
    pairs that count the same.
    """

    pair_N: NDArray[np.integer]
    chosen_N: NDArray[np.floating]
    rejected_N: NDArray[np.floating]
    chosen_length_N: NDArray[np.integer]
    rejected_length_N: NDArray[np.integer]
    probability_N: NDArray[np.floating] | None = None
    subset_N: NDArray[np.object_] | None = None
    share_N: NDArray[np.floating] | None = None
    weight_N: NDArray[np.floating] | None = None

    @property
    def delta_N(self) -> NDArray[np.float64]:
        """Chosen minus rejected score."""
        return self.chosen_N.astype(np.float64) - self.rejected_N.astype(np.float64)

    @property
    def labels(self) -> Labels:
        """What the measures take besides reward differences."""
        return labels_of([self])


def labels_of(several: Sequence[SourceScores]) -> Labels:
    """The labels of several sources' pairs, one source after the other."""

    def together(arrays: Sequence[NDArray[np.floating] | None]) -> NDArray[np.float64]:
        ones = (np.ones(len(one.pair_N)) for one in several)
        pairs = zip(arrays, ones, strict=True)
        return np.concatenate(
            [one_N if array is None else array.astype(np.float64) for array, one_N in pairs]
        )

    labels: Labels = {}
    if any(one.share_N is not None for one in several):
        labels["share_N"] = together([one.share_N for one in several])
    if any(one.weight_N is not None for one in several):
        labels["weight_N"] = together([one.weight_N for one in several])
    return labels
