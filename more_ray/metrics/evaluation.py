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
    """The comparison of the means over sources."""


class Against(Comparison):
    """A comparison with the evaluation in the folder `path`, or with what `path` names."""

    path: str


class Measured(TypedDict):
    """How good a model is, by source and in the mean over sources."""

    sources: dict[str, SourceMeasures]
    mean: SourceMeasures


def beats_guessing(measures: SourceMeasures) -> bool:
    """Whether the accuracy is shown to be above one half."""
    return measures["accuracy_ci"][0] > 0.5


class Drifts(TypedDict):
    """What the drifts `d_i` do to the reward differences of the test pairs of all sources."""

    cosine: dict[str, dict[str, float]]
    """By source and source: the cosine of the two drifts' parts `dz d_i`, not centred."""
    size: dict[str, float]
    """By source: the root mean square of `dz d_i` over that of the shared head's `dz w`."""


class Evaluation(Measured):
    """What `eval.json` says of a model."""

    scheme: str
    step: int | None
    """Micro-steps done; None of another's model."""
    bins: NotRequired[int]
    """The number of bins of the ECE, in an evaluation of pairs."""
    seed: NotRequired[int]
    """The seed of the resampling, in an evaluation of a policy's likelihoods."""
    benchmarks: NotRequired[dict[str, dict[str, Any]]]
    """By benchmark: what `summarise_benchmark` gives, what the file was `read_as`, its `answers`,
    how many of them lost their beginning (`cut`), and the records `rejected`, by reason."""
    against: NotRequired[Against]
    shared: NotRequired[Measured]
    """By the shared head, where each source has a head of its own, to which `sources` and `mean`
    belong."""
    posterior: NotRequired[Measured]
    """After calibration, by the own heads, less sure by their posterior."""
    left_out: NotRequired[Measured]
    """After calibration, by the shared head of the other sources, less sure by its posterior and by
    the variance of a drift that nobody knows."""
    one_head: NotRequired[Measured]
    """After calibration, by one head for all (MultiTask) with a temperature for each source, which
    `against` compares the own heads with."""
    drifts: NotRequired[Drifts]
    """After calibration, of the heads as they were fitted."""


def by_head(evaluation: Evaluation) -> dict[str, Measured]:
    """The ways to score that an evaluation of several heads has, by the name that tables show."""
    ways = {
        "own head": evaluation,
        "own, posterior": evaluation.get("posterior"),
        "shared head": evaluation.get("shared"),
        "one head for all": evaluation.get("one_head"),
        "left out": evaluation.get("left_out"),
    }
    return {name: measured for name, measured in ways.items() if measured}
