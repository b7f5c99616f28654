"""The measures of pairs: one table that evaluation, sweeps, tables and pages read.

A new measure is a function and a row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from more_ray.metrics.accuracy import accuracy
from more_ray.metrics.calibration import (
    adaptive_ece,
    brier,
    debiased_ece,
    ece,
    nll,
    true_calibration_error,
)
from more_ray.metrics.labels import Floats, weighted_mean

Function = Callable[..., float]
"""A number from one or more arrays `[N]` over the same pairs."""


@dataclass(frozen=True)
class Measure:
    """A row of the table."""

    key: str
    """The key in `eval.json`."""
    name: str
    """The heading of its column."""
    function: Function | None = None
    """Takes the reward differences `[N]`; with a "calibration" interval the number of bins, too;
    where `needs_truth`, the true probabilities `[N]`; as keywords `labels.Labels`, shares only
    without the truth. None: `summary` computes it from more."""
    interval: Literal["wilson", "bootstrap", "calibration"] | None = None
    """wilson: a share of pairs. bootstrap: any mean. calibration: an error that
    sampling pushes up."""
    better: Literal["max", "min"] | None = None
    compared: bool = False
    """Models are compared by it, and a sweep can choose by it."""
    shown: bool = True
    """It has a column in tables of all measures."""
    needs_truth: bool = False
    """Only simulated pairs have it."""
    mark: str = ""
    """The key of what its figure marks beside it; a measure without a mark has no figure."""
    title: str = ""
    """The title of its figure, or its name in the legend of another's."""
    digits: int = 3

    @property
    def heading(self) -> str:
        """The name, with a capital."""
        return self.name[0].upper() + self.name[1:]

    def format(self, value: float) -> str:
        return f"{value:.{self.digits}f}"


def _mean(delta_N: Floats, share_N: Floats | None = None, weight_N: Floats | None = None) -> float:
    """Of all pairs, also of ties."""
    return weighted_mean(delta_N, weight_N)


def _deviation(
    delta_N: Floats, share_N: Floats | None = None, weight_N: Floats | None = None
) -> float:
    if weight_N is None:
        return float(delta_N.std())
    return weighted_mean((delta_N - weighted_mean(delta_N, weight_N)) ** 2, weight_N) ** 0.5


_ROWS = (
    Measure(
        *("accuracy", "accuracy", accuracy, "wilson", "max"),
        compared=True,
        mark="longer_answer_accuracy",
        title="Accuracy",
    ),
    Measure(
        *("ece", "ECE", ece, "calibration", "min"),
        compared=True,
        mark="ece_noise_floor",
        title="Expected calibration error",
    ),
    Measure("ece_noise_floor", "floor", title="noise floor"),
    Measure("adaptive_ece", "adaptive", adaptive_ece, "calibration", "min", shown=False),
    Measure("debiased_ece", "debiased", debiased_ece, "calibration", "min", shown=False),
    Measure("brier", "Brier", brier, "bootstrap", "min", compared=True),
    Measure("nll", "NLL", nll, "bootstrap", "min", compared=True),
    Measure("delta_mean", "mean difference", _mean, "bootstrap", shown=False),
    Measure("delta_std", "deviation", _deviation, "bootstrap", shown=False),
    Measure("temperature", "T"),
    Measure("ece_at_temperature", "ECE at T", better="min"),
    Measure("nll_at_temperature", "NLL at T", better="min", shown=False),
    Measure(
        *("true_calibration_error", "to truth", true_calibration_error, "bootstrap", "min"),
        needs_truth=True,
    ),
    Measure("longer_answer_accuracy", "longer", title="the longer answer"),
)
MEASURES = {row.key: row for row in _ROWS}
"""The rows by key, in the order of `eval.json` and of columns."""


def functions(bins: int) -> dict[str, Function]:
    """The functions of reward differences `[N]` alone."""
    return {
        row.key: partial(row.function, bins=bins) if row.interval == "calibration" else row.function
        for row in MEASURES.values()
        if row.function and not row.needs_truth
    }


def compared() -> list[Measure]:
    """The measures that models are compared by, and that a sweep can choose by."""
    return [row for row in MEASURES.values() if row.compared]


def shown() -> list[Measure]:
    """The columns of tables of all measures."""
    return [row for row in MEASURES.values() if row.shown]


def ranked() -> list[Measure]:
    """The columns of a sweep's ranking: what a sweep can choose by, and the floor of the ECE."""
    return [row for row in MEASURES.values() if row.compared or row.key == "ece_noise_floor"]


def drawn() -> list[Measure]:
    """The measures that have a figure."""
    return [row for row in MEASURES.values() if row.mark]
