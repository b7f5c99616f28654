"""Baselines that a reward model should beat. Legend: N pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from more_ray.metrics.labels import Floats, mean_of_decided
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.temperature import temperature_scaled


def longer_answer_accuracy(
    chosen_lengths_N: NDArray[np.integer],
    rejected_lengths_N: NDArray[np.integer],
    share_N: Floats | None = None,
    weight_N: Floats | None = None,
) -> float:
    """The accuracy of preferring the longer answer; equal lengths count one half.

    Pairs with half of the votes each are left out, as of `accuracy`.
    """
    side_N = np.sign(chosen_lengths_N - rejected_lengths_N)
    if share_N is not None:
        side_N = np.where(share_N > 0.5, side_N, -side_N)
    return mean_of_decided(0.5 + 0.5 * side_N, share_N, weight_N)


def average_scores(models: Sequence[Mapping[str, SourceScores]]) -> dict[str, SourceScores]:
    """The mean of the scores that several models gave the same pairs, in the same order."""
    return {
        name: replace(
            first,
            chosen_N=np.mean([model[name].chosen_N for model in models], axis=0),
            rejected_N=np.mean([model[name].rejected_N for model in models], axis=0),
        )
        for name, first in models[0].items()
    }


def with_temperature(scores: Mapping[str, SourceScores], seed: int) -> dict[str, SourceScores]:
    """The scores divided by a temperature per source, fitted on the half a pair is not in.

    Only reward differences are scaled, so the rejected answers get reward 0.
    """
    return {
        name: replace(
            source,
            chosen_N=temperature_scaled(source.delta_N, seed, **source.labels)[0],
            rejected_N=np.zeros(len(source.pair_N)),
        )
        for name, source in scores.items()
    }
