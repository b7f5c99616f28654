"""What to do next with the first model of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from more_ray.metrics.evaluation import Differences, SourceMeasures, beats_guessing
from more_ray.metrics.shown_names import MULTITASK
from more_ray.metrics.written import interval_text
from more_ray.report.beside import Sides
from more_ray.report.models import VAGUE, Model
from more_ray.report.words import listed


def next_step(models: Sequence[Model], differences: Mapping[str, Differences], shown: Sides) -> str:
    """The first of these that holds.

    Args:
        shown: as `shown_sides` finds it of the differences.
    """
    model = models[0]
    mean = model.evaluation["mean"]
    sources = model.evaluation["sources"]
    served = [name for name, one in sources.items() if beats_guessing(one)]
    opposed = [name for name, one in sources.items() if one["accuracy_ci"][1] < 0.5]
    if served and opposed and "shared" not in model.evaluation:
        return (
            f"The sources disagree: it serves {listed(served)}, and prefers what {listed(opposed)} "
            "reject. Fit a head to each source (more-ray calibrate)."
        )
    more = "Train on more pairs, look for wrong labels, or start from a larger model."
    if steps := model.evaluation["step"]:
        more += f" {_course(model, steps)}"
    if not beats_guessing(mean):
        return f"Do not use it, for it is not shown to beat guessing. {more}"
    if not model.beats_longer:
        return f"It is not shown to beat taking the longer answer. {more}"
    if worse := [
        other for other, sides in shown.items() if max(sides.values()) <= 0 > min(sides.values())
    ]:
        best = min(worse, key=lambda other: differences[other]["accuracy"]["difference"])
        return _instead(model, best, shown[best]["accuracy"])
    if model.true_ece[0]:
        return _cooling(model)
    if mixed := [other for other, sides in shown.items() if sides["accuracy"] < 0]:
        return (
            f"Use {mixed[0]} where only the order of answers counts, {model.name} for "
            "probabilities."
        )
    return _use(models, shown) + _before_probabilities(model, shown)


def _course(model: Model, steps: int) -> str:
    """How it was trained, as too little is a reason, too."""
    settings = yaml.safe_load(model.first.config or "") or {}
    rate = settings.get("optimizer", {}).get("lr")
    at = "" if rate is None else f" at a learning rate of {float(rate):g}"
    return (
        f"It was trained for {steps:,} step{'s' * (steps > 1)}{at}; more (train.epochs), or a "
        "higher rate (optimizer.lr), may be all it lacks."
    )


def _instead(model: Model, other: str, accuracy_side: int) -> str:
    if accuracy_side or model.true_ece[0] == 0:
        return f"Use {other} instead."
    cooling = _cooling(model)
    return (
        f"Use {other} instead; which of the two is more accurate is not shown. Or keep "
        f"{model.name}: {cooling[0].lower()}{cooling[1:]}"
    )


def _cooling(model: Model) -> str:
    mean = model.evaluation["mean"]
    if "shared" in model.evaluation:
        return "Calibrate on more pairs before its probabilities are used."
    text = "Calibrate it before its probabilities are used (more-ray calibrate)"
    after = mean.get("ece_at_temperature", mean["ece"])
    if after < mean["ece"]:
        text += (
            "; a temperature for each source, which changes no ranking, brings the ECE to "
            f"{after:.3f}"
        )
    return f"{text}."


def _use(models: Sequence[Model], shown: Sides) -> str:
    """For a model that nothing speaks against."""
    model = models[0]
    if "shared" in model.evaluation:
        return _strangers(model)
    if weak := model.unserved:
        return (
            f"Fit a head to each source (more-ray calibrate): on {listed(weak)} it is not shown to "
            "beat guessing."
        )
    if equal := [other for other, sides in shown.items() if not any(sides.values())]:
        return (
            f"It is not shown to differ from {listed(equal)}: take the simpler one, or test on "
            "more pairs."
        )
    if len(models) == 1 and len(model.trained_on) > 1 and model.name != MULTITASK:
        return "Train the plain mixture beside it (compare=[proportional]) to see what it gains."
    return "It can be used as it is (more-ray serve)."


def _strangers(model: Model) -> str:
    """What to do with several heads."""
    own = "Score people whose source is known by its head (source=NAME)"
    if not (left_out := model.evaluation.get("left_out")):
        return f"{own}."
    mean: SourceMeasures = left_out["mean"]
    numbers = f"{mean['accuracy']:.1%}, {interval_text(mean['accuracy_ci'], '.1%', ' to ')}"
    if not beats_guessing(mean):
        return (
            f"{own}. Ask others first: on people who were never asked it is not shown to beat "
            f"guessing ({numbers})."
        )
    return f"{own}, and people who were never asked as source=unknown ({numbers})."


def _before_probabilities(model: Model, shown: Sides) -> str:
    if better := [other for other, sides in shown.items() if sides["ece"] < 0]:
        return (
            " Where the probabilities themselves count, calibrate on more pairs first: those of "
            f"{listed(better)} are better calibrated."
        )
    if model.true_ece[1] >= VAGUE:
        return " Where the probabilities themselves count, test on more pairs first."
    return ""
