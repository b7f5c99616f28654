"""What the best of n samples gains as n grows, by the reward that chooses and by all others.

Legend: A answers to a prompt, N numbers of samples, Q rewards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from more_ray.config.sample import SelectConfig
from more_ray.metrics.intervals import mean_with_interval
from more_ray.sample.choice import best_of, doubling, gains
from more_ray.sample.scored import ScoredPrompt


def best_of_curves(
    prompts: Mapping[str, Sequence[ScoredPrompt]], reward_model: str, choice: str
) -> dict[str, Any]:
    """Gains over the mean of a prompt's answers, means over prompts with Student's intervals.

    Args:
        prompts: by reward model, the same samples.
        reward_model, choice: by these the best is chosen.

    Returns:
        `n`: 1, 2, 4 ... S; `reward_models` and `sources` (those of `reward_model`): for each, a
        gain for each n.
    """
    chosen_by = prompts[reward_model]
    size_N, names = doubling(chosen_by[0].samples), chosen_by[0].names
    found = []
    for place, prompt in enumerate(chosen_by):
        if not len(prompt.row_A) or prompt.names != names:
            continue
        everybody = [gains(several[place].reward_PA[:1]) for several in prompts.values()]
        gain_QA = np.concatenate([*everybody, gains(prompt.reward_PA)[1:]])
        worth_A = prompt.worth(SelectConfig(by=choice))
        found.append(best_of(worth_A, gain_QA, prompt.samples, size_N))
    curves = [
        list(map(mean_with_interval, gain_PN.T)) for gain_PN in np.moveaxis(np.stack(found), -1, 0)
    ]
    return {
        "n": size_N,
        "reward_models": dict(zip(prompts, curves, strict=False)),
        "sources": dict(zip(names, curves[len(prompts) :], strict=True)),
    }
