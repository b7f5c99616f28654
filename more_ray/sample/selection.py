"""The best of the samples of each prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from more_ray.calibrate.populations import ByPopulation
from more_ray.config.sample import OF_SOURCE, RejectionSamplingConfig, SelectConfig
from more_ray.data.messages import Message
from more_ray.errors import UserError
from more_ray.model.heads_file import has_posterior, sources_of
from more_ray.model.population import heads_file
from more_ray.sample.schemas import SCORED_SCHEMA
from more_ray.sample.scored import scored_prompts, with_names

Score = Callable[[Sequence[Message], Sequence[str]], ByPopulation]
"""A function that returns what every population thinks of several answers to one prompt."""


def check_select(config: RejectionSamplingConfig) -> None:
    """Check that the reward model has what `config.select` needs.

    Raises:
        UserError: it has no such source, one head only, or no posterior.
    """
    by, caution, path = config.select.by, config.select.caution, heads_file(config.reward)
    names = sources_of(path) if path else ()
    if by != "shared" and not names:
        raise UserError(
            f"select.by: {by} given; {config.reward.path} has one head; allowed: shared, or the "
            "model of a calibration, or of a run with model.heads=shared+drift"
        )
    if by.startswith(OF_SOURCE) and by.removeprefix(OF_SOURCE) not in names:
        raise UserError(
            f"select.by: {by} given; {config.reward.path} has heads of {', '.join(names)}"
        )
    if caution and not (path and has_posterior(path)):
        raise UserError(
            f"select.caution: {caution:g} given; {config.reward.path} has no posterior; allowed: "
            "0, or the model of a calibration"
        )


def select(samples: pa.Table, score: Score, choice: SelectConfig) -> pa.Table:
    """Score samples and mark the best of each prompt, the first of those that tie.

    Duplicates are scored once. Empty responses are not scored: where a prompt has nothing else,
    nothing is selected.

    Args:
        samples: all samples of some prompts, as `SAMPLE_SCHEMA`.

    Returns:
        The same rows as `SCORED_SCHEMA`, with the names of the sources in the metadata.

    Raises:
        UserError: a score is not finite.
    """
    rows, names = samples.to_pylist(), ()
    for row, group in groupby(rows, key=lambda sample: sample["row"]):
        names = _score(row, list(group), score) or names
    return select_again(pa.Table.from_pylist(rows, with_names(SCORED_SCHEMA, names)), choice)


def select_again(scored: pa.Table, choice: SelectConfig) -> pa.Table:
    """Mark the best of each prompt among samples that are scored.

    Raises:
        UserError: the samples lack what the choice needs.
    """
    selected_R = np.zeros(len(scored), bool)
    for prompt in scored_prompts(scored):
        if len(prompt.row_A):
            selected_R[prompt.row_A[prompt.worth(choice).argmax()]] = True
    place = scored.schema.get_field_index("selected")
    return scored.set_column(place, scored.schema.field(place), pa.array(selected_R))


def _score(row: int, group: list[dict[str, Any]], score: Score) -> tuple[str, ...]:
    """Add the columns of scores to the samples of a prompt; returns the names of the sources."""
    distinct = list(dict.fromkeys(sample["response"] for sample in group if sample["response"]))
    found = score(group[0]["prompt"], distinct) if distinct else None
    by_response: dict[str, dict[str, Any]] = {}
    if found:
        if not np.isfinite(found.reward_PA).all():
            raise UserError(f"reward: the scores of prompt {row} are not all finite")
        for answer, response in enumerate(distinct):
            own, *others = found.reward_PA[:, answer].tolist()
            doubt_PA = found.deviation_PA
            by_response[response] = {
                "score": own,
                "rewards": others or None,
                "deviations": None if doubt_PA is None else doubt_PA[:, answer].tolist(),
            }
    nothing = {"score": None, "rewards": None, "deviations": None}
    seen: set[str] = set()
    for sample in group:
        response = sample["response"]
        sample |= by_response.get(response, nothing)
        sample |= {"duplicate": response in seen, "selected": False}
        seen.add(response)
    return found.names if found else ()


def summarise(samples: pa.Table) -> dict[str, Any]:
    """The summary of scored samples; shares and mean tokens are over all samples."""
    score, selected = samples["score"], samples["selected"]
    prompts = len(samples["row"].unique())
    return {
        "prompts": prompts,
        "samples": len(samples),
        "mean_reward": pc.mean(score).as_py(),
        "mean_reward_of_best": pc.mean(score.filter(selected)).as_py(),
        "duplicates": pc.mean(samples["duplicate"]).as_py(),
        "empty": score.null_count / len(samples),
        "unfinished": 1 - pc.mean(samples["finished"]).as_py(),
        "mean_tokens": pc.mean(samples["tokens"]).as_py(),
        "prompts_without_answer": prompts - pc.sum(selected).as_py(),
    }
