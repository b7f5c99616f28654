"""How often models are right on the pairs they are surest of. Legend: N pairs of one source."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from more_ray.metrics.accuracy import accuracy
from more_ray.metrics.intervals import wilson
from more_ray.metrics.labels import decided_pairs, taken
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.written import with_interval
from more_ray.report.drawing import Rows
from more_ray.report.models import Model

SHARES = (0.1, 0.2, 0.5, 1.0)
"""Of each source's test pairs, by how sure the model is."""


def surest_rows(models: Sequence[Model]) -> Rows:
    """A row for each model, a column for each share of the pairs: means over sources."""
    return [
        {"model": model.name}
        | {"all" if share == 1 else f"surest {share:.0%}": _cell(model, share) for share in SHARES}
        for model in models
    ]


def _cell(model: Model, share: float) -> str:
    found = [_found(source, share) for scores in model.scores for source in scores.values()]
    mean = fmean(right for right, _ in found)
    of_one_seed = found[: len(model.first.scores)]
    # As many pairs of a single source as tell as much as the mean over sources.
    pairs = len(of_one_seed) ** 2 / sum(1 / max(1, pairs) for _, pairs in of_one_seed)
    return with_interval(mean, wilson(mean, round(pairs)), ".2f")


def _found(source: SourceScores, share: float) -> tuple[float, int]:
    """The accuracy on the surest pairs, and how many of them are no tie."""
    delta_N = source.delta_N
    row_n = np.argsort(-np.abs(delta_N), kind="stable")[: max(1, round(share * len(delta_N)))]
    known = taken(source.labels, row_n)
    return accuracy(delta_N[row_n], **known), decided_pairs(len(row_n), **known)
