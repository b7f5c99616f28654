"""What the best of n samples gains as n grows, by the reward that chooses and by all others.

Legend: S prompts, A answers to one, N numbers of samples, Q rewards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from more_ray.config.sample import SelectConfig
from more_ray.metrics.intervals import mean_with_interval
from more_ray.sample.choice import Floats, best_of, doubling, gains
from more_ray.sample.scored import ScoredPrompt


def best_of_curves(
    prompts: Mapping[str, Sequence[ScoredPrompt]],
    reward_model: str,
    choice: str,
    gold: str | None = None,
) -> dict[str, Any]:
    """Gains over the mean of a prompt's answers, means over prompts with Student's intervals.

    Args:
        prompts: by reward model, the same samples.
        reward_model, choice: by these the best is chosen.
        gold: the reward model that took no part.

    Returns:
        `n`: 1, 2, 4 ... S; `reward_models`, `sources` (those of `reward_model`) and `gold` (the
        sources of the gold reward model): for each, a gain for each n.
    """
    chosen_by, judged_by = prompts[reward_model], prompts[gold or reward_model]
    size_N = doubling(chosen_by[0].samples)
    names = {
        "reward_models": tuple(prompts),
        "sources": chosen_by[0].names,
        "gold": judged_by[0].names if gold else (),
    }
    found: dict[str, list[Floats]] = {group: [] for group in names}
    for place, (prompt, judged) in enumerate(zip(chosen_by, judged_by, strict=True)):
        if not len(prompt.row_A) or prompt.names != names["sources"]:
            continue
        worth_A = prompt.worth(SelectConfig(by=choice))
        gain_QA = {
            "reward_models": np.concatenate(
                [gains(several[place].reward_PA[:1]) for several in prompts.values()]
            ),
            "sources": gains(prompt.reward_PA[1:]),
            "gold": gains(judged.reward_PA[1:]),
        }
        for group in names:
            found[group].append(best_of(worth_A, gain_QA[group], prompt.samples, size_N))
    return {
        "n": size_N,
        **{group: _curves(names[group], np.stack(found[group])) for group in names},
    }


def _curves(names: Sequence[str], gain_SNQ: Floats) -> dict[str, list[dict[str, Any]]]:
    """By quantity, the mean over prompts for each number of samples."""
    return {
        name: [mean_with_interval(gain_S) for gain_S in gain_SNQ[:, :, place].T]
        for place, name in enumerate(names)
    }
