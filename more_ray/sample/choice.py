"""Whom the choice among the answers to a prompt is to please.

A reward is known up to a constant for each prompt and population. So populations are compared by
gains: a reward less its mean over the prompt's answers, which is what one gets without choosing.
Calibrated heads are all in one unit: a gain of 1 multiplies the odds of being preferred by e.

Legend: A answers to one prompt, K sources, P = 1 + K populations: everybody, then each source; N
numbers of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from more_ray.config.sample import OF_SOURCE

Floats = NDArray[np.float64]


def gains(reward_PA: Floats) -> Floats:
    """`[P, A]`: rewards less their mean over the answers."""
    return reward_PA - reward_PA.mean(axis=1, keepdims=True)


def worth(
    by: str, names: Sequence[str], reward_PA: Floats, doubt_PA: Floats | float = 0.0
) -> Floats:
    """`[A]`: by this the answers are compared; the first of the largest is chosen.

    shared and source=NAME: the reward. mean: the mean of the sources' rewards. worst: the gain of
    the source that gains least. nash (Nash, "The Bargaining Problem", 1950): the geometric mean of
    the sources' gains, as their product is largest where that is; where some source gains nothing,
    the least gain as for worst, so that such an answer never comes before one that all gain by.

    Args:
        by: a `Rule`; all but shared need sources.
        names: of the K sources.
        doubt_PA: what to subtract from each reward: `caution` times its posterior deviation.
    """
    careful_PA = reward_PA - doubt_PA
    if by == "shared":
        return careful_PA[0]
    if by.startswith(OF_SOURCE):
        return careful_PA[1 + names.index(by.removeprefix(OF_SOURCE))]
    if by == "mean":
        return careful_PA[1:].mean(axis=0)
    gain_KA = (gains(reward_PA) - doubt_PA)[1:]
    least_A = gain_KA.min(axis=0)
    if by == "worst":
        return least_A
    for_all_A = least_A > 0
    log_KA = np.log(gain_KA, out=np.zeros_like(gain_KA), where=for_all_A)
    return np.where(for_all_A, np.exp(log_KA.mean(axis=0)), least_A)


def best_of(worth_A: Floats, value_QA: Floats, samples: int, size_N: Sequence[int]) -> Floats:
    """`[N, Q]`: what the best of n samples is expected to have of each of Q quantities.

    The mean over all subsets of n of a prompt's samples, which needs no draws: the answer of rank
    k, from 1, is the best of `C(samples - k, n - 1)` of them. Subsets without any answer do not
    count.

    Args:
        worth_A: by this the best is chosen, the first of those that tie.
        samples: of the prompt, of which A <= samples have an answer.
        size_N: n, each from 1 to `samples`.
    """
    order_A = np.argsort(-worth_A, kind="stable")
    return _shares(samples, len(worth_A), tuple(size_N)) @ value_QA[:, order_A].T


@lru_cache
def _shares(samples: int, answers: int, size_N: tuple[int, ...]) -> Floats:
    """`[N, A]`: the share of the subsets of n samples in which the answer of each rank is best."""
    return np.array(
        [
            [
                math.comb(samples - rank, size - 1)
                / (math.comb(samples, size) - math.comb(samples - answers, size))
                for rank in range(1, answers + 1)
            ]
            for size in size_N
        ]
    )


def doubling(samples: int) -> list[int]:
    """1, 2, 4 ... up to `samples`, which is the last."""
    return [2**power for power in range((samples - 1).bit_length())] + [samples]
