"""Whose answers a reward model prefers that took no part: Table 1 without a judge to ask.

It learnt from other pairs than the reward models that the policies were made by, as the gold reward
model of Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization".

Legend: A, B answers of the two policies to a prompt, P populations: everybody, then each source; N
prompts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from more_ray.metrics.intervals import mean_with_interval
from more_ray.sample.scored import scored_prompts

GOLD = "gold"
"""Its name among those that score."""

EVERYBODY = "everybody"


def preferences(ours: pa.Table, theirs: pa.Table) -> dict[str, dict[str, Any]]:
    """By head, how often the answers of one policy score above those of another.

    Args:
        ours, theirs: samples of two policies for the same prompts, as `SCORED_SCHEMA`.

    Returns:
        for everybody, then each source: `win`, `tie`, `lose` and `win_rate`, a tie being half a
        win: shares of all pairs of answers to a prompt, means over prompts with Student's 95%
        intervals. Equal answers tie.
    """
    text_of_ours, text_of_theirs = (table["response"].to_numpy() for table in (ours, theirs))
    names: tuple[str, ...] = ()
    win_NP, tie_NP = [], []
    for our, their in zip(scored_prompts(ours), scored_prompts(theirs), strict=True):
        if not len(our.row_A) or not len(their.row_A):
            continue
        names = our.names
        same_AB = text_of_ours[our.row_A][:, None] == text_of_theirs[their.row_A]
        above_PAB = our.reward_PA[:, :, None] - their.reward_PA[:, None, :]
        above_PAB[:, same_AB] = 0
        win_NP.append((above_PAB > 0).mean(axis=(1, 2)))
        tie_NP.append((above_PAB == 0).mean(axis=(1, 2)))
    shape = (-1, 1 + len(names))  # also where there is no prompt
    shares_NP = {"win": np.reshape(win_NP, shape), "tie": np.reshape(tie_NP, shape)}
    shares_NP["lose"] = 1 - shares_NP["win"] - shares_NP["tie"]
    shares_NP["win_rate"] = shares_NP["win"] + shares_NP["tie"] / 2
    return {
        head: {name: mean_with_interval(share_NP[:, place]) for name, share_NP in shares_NP.items()}
        for place, head in enumerate((EVERYBODY, *names))
    }
