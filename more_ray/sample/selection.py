"""The best of the samples of each prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from more_ray.data.messages import Message
from more_ray.errors import UserError

Score = Callable[[Sequence[Message], Sequence[str]], list[float]]
"""A function that returns the rewards of several answers to one prompt."""

PROMPT = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("prompt", pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))),
]
PROMPT_SCHEMA = pa.schema(PROMPT)
"""`row` is a prompt's position in its file."""

SAMPLE_SCHEMA = pa.schema(
    [
        *PROMPT,
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("finished", pa.bool_(), nullable=False),
        pa.field("log_likelihood", pa.float32()),
    ]
)
"""The samples of a prompt follow each other; the columns are those of `engines.protocol.Sample`."""

SCORED_SCHEMA = pa.schema(
    [
        *SAMPLE_SCHEMA,
        pa.field("score", pa.float32()),
        pa.field("duplicate", pa.bool_(), nullable=False),
        pa.field("selected", pa.bool_(), nullable=False),
    ]
)
"""`score` is null where the response is empty; `duplicate`: whether it repeats an earlier sample of
its prompt."""

BEST_SCHEMA = pa.schema(
    [SCORED_SCHEMA.field(name) for name in ("row", "prompt", "response", "score")]
)
"""The selected samples."""


def select(samples: pa.Table, score: Score) -> pa.Table:
    """Score samples and mark the best of each prompt, the first of those that tie.

    Duplicates are scored once. Empty responses are not scored: where a prompt has nothing else,
    nothing is selected.

    Args:
        samples: all samples of some prompts, as `SAMPLE_SCHEMA`.

    Returns:
        The same rows as `SCORED_SCHEMA`.

    Raises:
        UserError: a score is not finite.
    """
    rows = samples.to_pylist()
    for row, group in groupby(rows, key=lambda sample: sample["row"]):
        _select_best(row, list(group), score)
    return pa.Table.from_pylist(rows, SCORED_SCHEMA)


def _select_best(row: int, group: list[dict[str, Any]], score: Score) -> None:
    distinct = list(dict.fromkeys(sample["response"] for sample in group if sample["response"]))
    scores = score(group[0]["prompt"], distinct) if distinct else []
    if not all(map(math.isfinite, scores)):
        raise UserError(f"reward: the scores of prompt {row} are not all finite")
    score_of = dict(zip(distinct, scores, strict=True))
    seen: set[str] = set()
    for sample in group:
        response = sample["response"]
        sample |= {"score": score_of.get(response), "duplicate": response in seen}
        seen.add(response)
    best = max(score_of.values(), default=None)
    first = next(
        (sample for sample in group if sample["response"] and sample["score"] == best), None
    )
    for sample in group:
        sample["selected"] = sample is first


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
