"""Whether a model is right more often where people chose the longer answer. Legend: N pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from more_ray.metrics.accuracy import accuracy
from more_ray.metrics.intervals import Z_95
from more_ray.metrics.labels import decided_pairs, taken
from more_ray.metrics.scores import SourceScores


def length_bias(scores: Sequence[SourceScores]) -> str | None:
    """The bias in words, the mean over sources; none where chance explains it."""
    found = [one for one in map(_of_source, scores) if one]
    if not found:
        return None
    of_longer, of_shorter = (fmean(one[place] for one in found) for place in (0, 1))
    deviation = math.sqrt(sum(variance for _, _, variance in found)) / len(found)
    if abs(of_longer - of_shorter) <= Z_95 * deviation:
        return None
    return (
        f"It leans to the {'longer' if of_longer > of_shorter else 'shorter'} answer: it is right "
        f"on {of_longer:.0%} of the pairs whose longer answer people chose, on {of_shorter:.0%} of "
        "the others."
    )


def _of_source(scores: SourceScores) -> tuple[float, float, float] | None:
    """The accuracy where the longer answer is right, where the shorter one is, and the variance of
    their difference; None where there are pairs of one kind alone."""
    labels = scores.labels
    longer_N = scores.chosen_length_N - scores.rejected_length_N
    if "share_N" in labels:
        longer_N = np.where(labels["share_N"] < 0.5, -longer_N, longer_N)
    shares, variance = [], 0.0
    for rows_N in (longer_N > 0, longer_N < 0):
        known = taken(labels, rows_N)
        pairs = decided_pairs(int(rows_N.sum()), **known)
        if not pairs:
            return None
        right = accuracy(scores.delta_N[rows_N], **known)
        shares.append(right)
        variance += right * (1 - right) / pairs
    return shares[0], shares[1], variance
