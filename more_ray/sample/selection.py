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
"""The rewards of several answers to one prompt."""

PROMPT = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("prompt", pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))),
]
PROMPT_SCHEMA = pa.schema(PROMPT)
"""`row` is a prompt's place in its file."""

SAMPLE_SCHEMA = pa.schema(
    [
        *PROMPT,
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("finished", pa.bool_(), nullable=False),
    ]
)
"""The samples of a prompt follow each other."""

SCORED_SCHEMA = pa.schema(
    [
        *SAMPLE_SCHEMA,
        pa.field("score", pa.float32()),
        pa.field("duplicate", pa.bool_(), nullable=False),
        pa.field("selected", pa.bool_(), nullable=False),
    ]
)
"""`score` is null where the response is empty; `duplicate`: an earlier sample of the prompt is the
same."""

BEST_SCHEMA = pa.schema(
    [SCORED_SCHEMA.field(name) for name in ("row", "prompt", "response", "score")]
)
"""What was selected."""


def select(samples: pa.Table, score: Score) -> pa.Table:
    """Score samples and mark the best of each prompt, the first of those that tie.

    Duplicates are scored once. Empty responses are not scored, so that a prompt that has no other
    has none selected.

    Args:
        samples: whole prompts, as `SAMPLE_SCHEMA`.

    Returns:
        The same rows as `SCORED_SCHEMA`.

    Raises:
        UserError: a score that is not finite.
    """
    rows = samples.to_pylist()
    for row, group in groupby(rows, key=lambda one: one["row"]):
        _select_one(row, list(group), score)
    return pa.Table.from_pylist(rows, SCORED_SCHEMA)


def _select_one(row: int, group: list[dict[str, Any]], score: Score) -> None:
    distinct = list(dict.fromkeys(one["response"] for one in group if one["response"]))
    scores = score(group[0]["prompt"], distinct) if distinct else []
    if not all(map(math.isfinite, scores)):
        raise UserError(f"reward: the scores of prompt {row} are not all finite")
    of_response = dict(zip(distinct, scores, strict=True))
    seen: set[str] = set()
    for one in group:
        response = one["response"]
        one |= {"score": of_response.get(response), "duplicate": response in seen}
        seen.add(response)
    best = max(of_response.values(), default=None)
    first = next((one for one in group if one["response"] and one["score"] == best), None)
    for one in group:
        one["selected"] = one is first


def summarise(samples: pa.Table) -> dict[str, Any]:
    """What a person wants to know of scored samples; shares and tokens are of all samples."""
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
