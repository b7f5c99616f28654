"""The content of `eval.json`."""

from __future__ import annotations

from typing import Any, TypedDict

from typing_extensions import NotRequired

SourceMeasures = dict[str, Any]
"""A number for each key of `measures.MEASURES`, its 95% interval as `KEY_ci`, the pairs as `n`, and
what else `summarise`, or `summarise_likelihoods` for a policy, gives. Tables and pages read it by
the keys of that table, hence Any; evaluations of earlier versions do not have every key."""


class Difference(TypedDict):
    """What a measure of two models differs by, one less the other."""

    difference: float
    ci: list[float]
    p: float


Differences = dict[str, Difference]
"""By measure."""


class Comparison(TypedDict):
    """One model less another on the same pairs."""

    sources: dict[str, Differences]
    mean: Differences
    """Of the means over sources."""


class Against(Comparison):
    """A comparison with the evaluation in the folder `path`."""

    path: str


class Evaluation(TypedDict):
    """How good a model is, by source and in the mean over sources."""

    scheme: str
    step: int | None
    """Micro-steps done; None of another's model."""
    bins: NotRequired[int]
    """Of the ECE; an evaluation of pairs has them."""
    seed: NotRequired[int]
    """Of the resampling; an evaluation of a policy's likelihoods has it."""
    sources: dict[str, SourceMeasures]
    mean: SourceMeasures
    against: NotRequired[Against]
