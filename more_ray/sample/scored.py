"""Scored samples as arrays, prompt by prompt.

Legend: R samples of all prompts, S of each, A of them with an answer, K sources, P = 1 + K
populations: everybody, then each source.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from more_ray.config.sample import SelectConfig
from more_ray.errors import UserError
from more_ray.sample.choice import Floats, worth

SOURCES = b"sources"
"""In a schema's metadata: a JSON list of the sources' names, in the order of `rewards`."""


@dataclass(frozen=True)
class ScoredPrompt:
    """The samples of one prompt that have an answer."""

    row_A: NDArray[np.int64]
    """Their places in the table."""
    samples: int
    """S, with those that have no answer."""
    names: tuple[str, ...]
    """Of the K sources; none where only the score is known."""
    reward_PA: Floats
    deviation_PA: Floats | None

    def worth(self, choice: SelectConfig) -> Floats:
        """`[A]`: by this the first of the largest is chosen.

        Raises:
            UserError: the samples lack what the choice needs.
        """
        if choice.by != "shared" and not self.names:
            raise UserError(
                f"select.by: {choice.by} given; the samples have no rewards by source: their model "
                "has one head, or they were scored by an earlier version"
            )
        if not choice.caution:
            return worth(choice.by, self.names, self.reward_PA)
        if self.deviation_PA is None:
            raise UserError(
                f"select.caution: {choice.caution:g} given; the samples have no deviations: their "
                "model has no posterior, or they were scored by an earlier version"
            )
        doubt_PA = choice.caution * self.deviation_PA
        return worth(choice.by, self.names, self.reward_PA, doubt_PA)


def scored_prompts(samples: pa.Table) -> Iterator[ScoredPrompt]:
    """The prompts of a table like `SCORED_SCHEMA`, in order."""
    names = names_of(samples.schema)
    row_R, score_R = samples["row"].to_numpy(), _numbers(samples["score"])
    reward_RK, deviation_RP = _matrix(samples["rewards"]), _matrix(samples["deviations"])
    firsts = np.flatnonzero(np.diff(row_R, prepend=-1))
    for row_S in np.split(np.arange(len(row_R)), firsts[1:]):
        row_A = row_S[~np.isnan(score_R[row_S])]
        score_1A, reward_KA = score_R[None, row_A], reward_RK[row_A].T
        known = bool(names) and len(reward_KA) == len(names) and not np.isnan(reward_KA).any()
        deviation_PA = deviation_RP[row_A].T
        doubt = deviation_PA.size > 0 and not np.isnan(deviation_PA).any()
        yield ScoredPrompt(
            row_A,
            len(row_S),
            names if known else (),
            np.concatenate([score_1A, reward_KA]) if known else score_1A,
            deviation_PA if doubt else None,
        )


def names_of(schema: pa.Schema) -> tuple[str, ...]:
    """The sources that the rewards of a table are of."""
    return tuple(json.loads((schema.metadata or {}).get(SOURCES, b"[]")))


def with_names(schema: pa.Schema, names: tuple[str, ...]) -> pa.Schema:
    """The schema of a table whose rewards are those of these sources."""
    return schema.with_metadata({SOURCES: json.dumps(names)}) if names else schema


def _numbers(column: pa.ChunkedArray) -> Floats:
    return column.to_numpy().astype(np.float64)


def _matrix(column: pa.ChunkedArray) -> Floats:
    """`[R, width]` of lists that are equally long or null; null is NaN."""
    known_R = column.is_valid().to_numpy()
    flat = pc.list_flatten(column).to_numpy()
    width = len(flat) // max(1, known_R.sum())
    value = np.full((len(column), width), np.nan)
    value[known_R] = flat.reshape(known_R.sum(), width)
    return value
