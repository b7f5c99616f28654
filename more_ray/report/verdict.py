"""What a page about models says first, in words that follow from its numbers.

"Beyond chance" is p < 0.05 divided by the number of tests (Bonferroni): of accuracy and of ECE,
against every other model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from more_ray.metrics.evaluation import Differences, SourceMeasures
from more_ray.metrics.written import interval_text
from more_ray.report.models import Model, mixtures
from more_ray.report.reliability import surest

VAGUE = 0.1
"""A calibration error that may be this large is not known to be small."""
TESTED = ("accuracy", "ece")
Told = Mapping[str, Mapping[str, int]]
"""By other model and measure: 1 where the first is better beyond chance, -1 where it is worse."""


@dataclass(frozen=True)
class Verdict:
    """The page's first words."""

    findings: str
    """How accurate the first model is, whether its probabilities hold, and beside which others."""
    next: str
    """What to do about it."""


def verdict(models: Sequence[Model], differences: Mapping[str, Differences]) -> Verdict:
    """The verdict on the first model.

    Args:
        differences: its means over sources less those of others, by their names.
    """
    told = _told(differences)
    findings = [_accuracy(models), _trust(models[0]), *_beside(differences, told)]
    return Verdict(" ".join(findings), _next(models, told))


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _accuracy(models: Sequence[Model]) -> str:
    first, mixed = models[0], mixtures(models)
    mean, shared = first.evaluation["mean"], first.evaluation.get("shared")
    best = max(mixed, key=lambda model: model.evaluation["mean"]["accuracy"])
    leads = best is first and len(mixed) > 1
    sentence = (
        f"{first.name} is the most accurate of {len(mixed)} models: it" if leads else first.name
    )
    sentence += (
        f" agrees with people on {mean['accuracy']:.1%} of the test pairs "
        f"({interval_text(mean['accuracy_ci'], '.1%', ' to ')})"
    )
    if shared:
        sentence += (
            f" by each source's own head, on {shared['mean']['accuracy']:.1%} by the shared one"
        )
    sentence += f"; taking the longer answer does on {mean['longer_answer_accuracy']:.1%}."
    if best is not first and first in mixed:
        accuracy = best.evaluation["mean"]["accuracy"]
        sentence += f" {best.name} agrees on the most, {accuracy:.1%}."
    return sentence


def _trust(model: Model) -> str:
    """Whether the probabilities hold, and what the surest of them are worth."""
    mean = model.evaluation["mean"]
    low, high = _true_ece(model)
    chance = f"a perfect model would show {mean['ece_noise_floor']:.3f} by chance"
    if low:
        found = (
            "Its probabilities cannot be trusted as they are: the calibration error (ECE) is "
            f"{mean['ece']:.3f}, in truth {low:.3f} to {high:.3f}; {chance}."
        )
    else:
        may = "Whether its probabilities can be trusted takes more test pairs to tell"
        if high < VAGUE:
            may = "Its probabilities can be trusted as far as these pairs tell"
        found = (
            f"{may}: the calibration error (ECE) is {mean['ece']:.3f}, in truth at most "
            f"{high:.3f}; {chance}."
        )
    says, right, *ends = np.mean([surest(run.scores) for run in model.runs], axis=0)
    return (
        f"{found} Where it is surest (a tenth of the pairs) it says {says:.0%} and is right "
        f"{right:.0%} of the time ({interval_text(ends, '.0%', ' to ')})."
    )


def _true_ece(model: Model) -> tuple[float, float]:
    """What the true ECE may be; from 0 where that holds for any seed."""
    low = min(run.evaluation["mean"]["ece_ci"][0] for run in model.runs)
    return low, model.evaluation["mean"]["ece_ci"][1]


def _told(differences: Mapping[str, Differences]) -> Told:
    level = 0.05 / max(1, len(TESTED) * len(differences))

    def side(measures: Differences, key: str) -> int:
        found = measures[key]
        larger_is_better = key == "accuracy"
        if found["p"] >= level:
            return 0
        return 1 if (found["difference"] > 0) == larger_is_better else -1

    return {
        other: {key: side(measures, key) for key in TESTED}
        for other, measures in differences.items()
    }


def _beside(differences: Mapping[str, Differences], told: Told) -> list[str]:
    """What sets it apart from others beyond chance, and which others nothing does."""
    sentences = []
    for other, sides in told.items():
        if any(sides.values()):
            words = [
                _difference(differences[other], key, sides[key]) for key in TESTED if sides[key]
            ]
            joint = " but " if len(set(sides.values())) == 2 and all(sides.values()) else " and "
            sentences.append(f"Beyond chance it is {joint.join(words)} than {other}.")
    if equal := [other for other, sides in told.items() if not any(sides.values())]:
        sentences.append(f"These test pairs do not tell it apart from {listed(equal)}")
        if len(equal) == 1:
            accuracy, ece = (_numbers(differences[equal[0]], key) for key in TESTED)
            sentences[-1] += f" (accuracy {accuracy}; {ece})"
        sentences[-1] += "."
    return sentences


def _difference(measures: Differences, key: str, side: int) -> str:
    better, word = ("more", "less"), "accurate"
    if key == "ece":
        better, word = ("better", "worse"), "calibrated"
    return f"{better[side < 0]} {word} ({_numbers(measures, key)})"


def _numbers(measures: Differences, key: str) -> str:
    found = measures[key]
    if key == "ece":
        return f"ECE {found['difference']:+.3f}, {interval_text(found['ci'], '+.3f', ' to ')}"
    ends = interval_text([100 * end for end in found["ci"]], "+.1f", " to ")
    return f"{100 * found['difference']:+.1f} points, {ends}"


def _next(models: Sequence[Model], told: Told) -> str:
    """The first of these that holds."""
    model = models[0]
    mean = model.evaluation["mean"]
    least = mean["accuracy_ci"][0]
    more = "train on more pairs, look for wrong labels, or start from a larger model"
    if least <= 0.5:
        return f"do not use it, for it is not shown to beat a coin; {more}."
    if least <= mean["longer_answer_accuracy"]:
        return f"it is not shown to beat taking the longer answer; {more}."
    if better := [other for other in models[1:] if _is_better(told.get(other.name))]:
        best = max(better, key=lambda other: other.evaluation["mean"]["accuracy"])
        return f"use {best.name} instead."
    if _true_ece(model)[0]:
        return _cooling(model)
    if "shared" in model.evaluation:
        return _strangers(model)
    sources = model.evaluation["sources"]
    if weak := [name for name, one in sources.items() if one["accuracy_ci"][0] <= 0.5]:
        return (
            f"on {listed(weak)} it is not shown to beat a coin; fit a head to each source "
            "(more-ray calibrate)."
        )
    if equal := [other.name for other in models if _is_equal(told.get(other.name))]:
        return (
            f"nothing here favours it over {listed(equal)}; take the simpler one, or test on more "
            "pairs."
        )
    if len(models) == 1 and len(model.trained_on) > 1:
        return "train the plain mixture beside it (compare=[proportional]) to see what it gains."
    return "it can be used as it is (more-ray serve)."


def _is_better(sides: Mapping[str, int] | None) -> bool:
    """Whether another model beats the first in accuracy, or in ECE at no loss of accuracy."""
    return bool(sides) and sides["accuracy"] <= 0 and min(sides.values()) < 0


def _is_equal(sides: Mapping[str, int] | None) -> bool:
    return bool(sides) and not any(sides.values())


def _cooling(model: Model) -> str:
    mean = model.evaluation["mean"]
    if "shared" in model.evaluation:
        return "calibrate on more pairs before its probabilities are used."
    text = "calibrate it before its probabilities are used (more-ray calibrate)"
    after = mean.get("ece_at_temperature", mean["ece"])
    if after < mean["ece"]:
        text += (
            f"; with a temperature for each source alone, which changes no ranking, the ECE is "
            f"{after:.3f}"
        )
    return f"{text}."


def _strangers(model: Model) -> str:
    """What to do with several heads."""
    own = "score people whose source is known by its head (source=NAME)"
    if not (left_out := model.evaluation.get("left_out")):
        return f"{own}."
    mean: SourceMeasures = left_out["mean"]
    numbers = f"{mean['accuracy']:.1%}, {interval_text(mean['accuracy_ci'], '.1%', ' to ')}"
    if mean["accuracy_ci"][0] <= 0.5:
        return (
            f"{own}; ask others first, for on people who were never asked it is not shown to beat "
            f"a coin ({numbers})."
        )
    return f"{own}, and people who were never asked as source=unknown ({numbers})."
