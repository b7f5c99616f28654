"""Measures of what alignment changed in a policy: reward, divergence, length, diversity.

Legend: P prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from more_ray.metrics.intervals import mean_with_interval
from more_ray.sample.scored import names_of

Floats = NDArray[np.float64]

BASE = "base"
"""The policy before it is aligned."""


def by_prompt(samples: pa.Table, key: str) -> Floats:
    """`[P]`: mean of a column over each prompt's samples that have a value; NaN if none has."""
    means = samples.select(["row", key]).group_by("row").aggregate([(key, "mean")]).sort_by("row")
    return means[f"{key}_mean"].to_numpy().astype(np.float64)


def by_source(samples: pa.Table) -> dict[str, Floats]:
    """The same of the rewards by each source; none of a model with one head."""
    row, rewards = samples["row"], samples["rewards"]
    columns = {
        name: pa.table({"row": row, "reward": pc.list_element(rewards, place)})
        for place, name in enumerate(names_of(samples.schema))
    }
    return {name: by_prompt(table, "reward") for name, table in columns.items()}


def distinct_bigrams(responses: Sequence[str]) -> float | None:
    """The share of distinct pairs among all pairs of neighbouring words in some answers.

    distinct-2 of Li et al. 2016, "A Diversity-Promoting Objective Function"; None without a pair.
    """
    bigrams = [pair for response in responses for pair in pairwise(response.split())]
    return len(set(bigrams)) / len(bigrams) if bigrams else None


def diversity(samples: pa.Table) -> dict[str, Any]:
    """`distinct_bigrams` of the answers to each prompt, with an interval over prompts."""
    by_row: dict[int, list[str]] = {}
    for row, response in zip(
        samples["row"].to_pylist(), samples["response"].to_pylist(), strict=True
    ):
        by_row.setdefault(row, []).append(response)
    shares = [distinct_bigrams(responses) for responses in by_row.values()]
    return mean_with_interval(np.array(shares, dtype=np.float64))
