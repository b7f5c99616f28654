"""What each population gains by each rule of choosing, and as more samples are drawn.

All rules are compared on one sampling. A gain is a reward less its mean over the prompt's answers,
in the reward's own unit (nats, where the heads are calibrated).

Legend: A answers to a prompt, P prompts, K sources, N numbers of samples, Q = 2 + K: everybody,
each source, and whichever source gains least.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from more_ray.config.sample import OF_SOURCE, SelectConfig
from more_ray.metrics.intervals import mean_with_interval
from more_ray.sample.choice import Floats, best_of, doubling, gains
from more_ray.sample.scored import ScoredPrompt, names_of, scored_prompts


def compare_choices(samples: pa.Table, choice: SelectConfig) -> dict[str, Any]:
    """What `summary.json` says of choices: `choices` and `best_of`.

    Every gain is a mean over prompts, with Student's interval; `least` is that of each prompt's
    least pleased source. Prompts without an answer, or without rewards by source, are left out.

    Args:
        samples: all samples, as `SCORED_SCHEMA` but for the texts.

    Returns:
        `choices`: for every rule, with no caution and with that of `choice`, the gains of the best
        of all samples. `best_of`: the gains by `choice` itself as the best of `n` samples is taken,
        a value for each n: 1, 2, 4 ... S.
    """
    names = names_of(samples.schema)
    prompts = [
        prompt for prompt in scored_prompts(samples) if len(prompt.row_A) and prompt.names == names
    ]
    if not prompts:
        return {"choices": [], "best_of": None}
    rules = ["shared"]
    if names:
        rules += [*(f"{OF_SOURCE}{name}" for name in names), "worst", "mean", "nash"]
    rows = []
    for caution in sorted({0.0, choice.caution}):
        for by in rules:
            found = SelectConfig(by=by, caution=caution)
            value_PQ = _gains(prompts, found, [prompts[0].samples])[:, 0]
            rows.append({**found.model_dump(), **_named(names, value_PQ, mean_with_interval)})
    size_N = doubling(prompts[0].samples)
    value_PNQ = _gains(prompts, choice, size_N)
    curves = _named(names, value_PNQ, lambda value_PN: list(map(mean_with_interval, value_PN.T)))
    return {"choices": rows, "best_of": {**choice.model_dump(), "n": size_N, **curves}}


def _gains(prompts: Sequence[ScoredPrompt], choice: SelectConfig, size_N: Sequence[int]) -> Floats:
    """`[P, N, Q]` expected gains of the best of n samples; the least ones only with sources."""
    found = []
    for prompt in prompts:
        gain_QA = gains(prompt.reward_PA)
        if prompt.names:
            gain_QA = np.vstack([gain_QA, gain_QA[1:].min(axis=0)])
        found.append(best_of(prompt.worth(choice), gain_QA, prompt.samples, size_N))
    return np.stack(found)


def _named(names: Sequence[str], value_PQ: Floats, summary: Any) -> dict[str, Any]:
    """The summaries of the values of each population; they are the last axis."""
    shared, *of_sources = np.moveaxis(value_PQ, -1, 0)
    if not names:
        return {"shared": summary(shared), "sources": {}}
    *of_sources, least = of_sources
    return {
        "shared": summary(shared),
        "sources": {name: summary(value) for name, value in zip(names, of_sources, strict=True)},
        "least": summary(least),
    }
