"""Whether a model is right more often where people chose the longer answer. Legend: N pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from more_ray.metrics.accuracy import accuracy
from more_ray.metrics.intervals import Z_95
from more_ray.metrics.labels import decided_pairs, taken
from more_ray.metrics.scores import SourceScores, labels_of


def length_bias(scores: Sequence[SourceScores]) -> str | None:
    """The bias in words, all sources together; none where chance explains it."""
    delta_N, labels = np.concatenate([one.delta_N for one in scores]), labels_of(scores)
    longer_N = np.concatenate([one.chosen_length_N - one.rejected_length_N for one in scores])
    if "share_N" in labels:
        longer_N = np.where(labels["share_N"] < 0.5, -longer_N, longer_N)
    shares, variance = [], 0.0
    for rows_N in (longer_N > 0, longer_N < 0):
        known = taken(labels, rows_N)
        pairs = decided_pairs(int(rows_N.sum()), **known)
        if not pairs:
            return None
        right = accuracy(delta_N[rows_N], **known)
        shares.append(right)
        variance += right * (1 - right) / pairs
    of_longer, of_shorter = shares
    if abs(of_longer - of_shorter) <= Z_95 * math.sqrt(variance):
        return None
    return (
        f"It leans to the {'longer' if of_longer > of_shorter else 'shorter'} answer: it is right "
        f"on {of_longer:.0%} of the pairs whose longer answer people chose, on {of_shorter:.0%} of "
        "the others."
    )
