"""What a page about models says first, in words that follow from its numbers.

"Beyond chance" is p < 0.05 divided by the number of tests (Bonferroni): of accuracy and of ECE,
against every other model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from more_ray.metrics.evaluation import Differences, SourceMeasures
from more_ray.metrics.written import interval_text
from more_ray.report.models import Model, mixtures
from more_ray.report.reliability import largest_gap

VAGUE = 0.1
"""A calibration error that may be this large is not known to be small."""
TESTED = ("accuracy", "ece")
Told = Mapping[str, Mapping[str, int]]
"""By other model and measure: 1 where the first is better beyond chance, -1 where it is worse."""


def verdict(models: Sequence[Model], differences: Mapping[str, Differences]) -> dict[str, str]:
    """The verdict on the first model, by what it is about.

    Args:
        differences: its means over sources less those of others, by their names.
    """
    told = _told(differences)
    words = {"Accuracy": _accuracy(models), "Trust": _trust(models[0])}
    if differences:
        words["Beside others"] = " ".join(_beside(differences, told))
    return {**words, "Next": _next(models, differences, told)}


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _accuracy(models: Sequence[Model]) -> str:
    first, mixed = models[0], mixtures(models)
    mean, shared = first.evaluation["mean"], first.evaluation.get("shared")
    best = max(mixed, key=lambda model: model.evaluation["mean"]["accuracy"])
    leads = best is first and len(mixed) > 1
    place = f", the most accurate of {len(mixed)} models," if leads else ""
    words = (
        f"{first.name}{place} agrees with people on {mean['accuracy']:.1%} of the test pairs "
        f"({interval_text(mean['accuracy_ci'], '.1%', ' to ')})"
    )
    if shared:
        accuracy = shared["mean"]["accuracy"]
        words += f" by each source's own head, on {accuracy:.1%} by the shared one"
    words += f". Taking the longer answer does on {mean['longer_answer_accuracy']:.1%}"
    if best is not first and first in mixed:
        words += f"; {best.name} agrees on the most, {best.evaluation['mean']['accuracy']:.1%}"
    return f"{words}."


def _trust(model: Model) -> str:
    """Whether the probabilities hold, and where most of their error is."""
    mean = model.evaluation["mean"]
    low, high = _true_ece(model)
    if low:
        found, truth = "Its probabilities cannot be trusted as they are", f"{low:.3f} to {high:.3f}"
    else:
        found, truth = "Its probabilities hold as far as these pairs tell", f"at most {high:.3f}"
        if high >= VAGUE:
            found = "Whether its probabilities hold takes more test pairs to tell"
    gap = largest_gap(model)
    ends = interval_text([gap["from"], gap["to"]], ".0%", " to ")
    return (
        f"{found}. Where it counts most, it says {gap['confidence']:.0%} and is right "
        f"{gap['accuracy']:.0%} of the time ({ends}; all sources together). Calibration error "
        f"(ECE) {mean['ece']:.3f}, in truth {truth}; a perfect model would show "
        f"{mean['ece_noise_floor']:.3f} by chance."
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
            found = [key for key in TESTED if sides[key]]
            words = [_difference(differences[other], key, sides[key]) for key in found]
            joint = " but " if sum(sides.values()) == 0 else " and "
            sentences.append(f"{joint.join(words)} than {other}")
    if sentences:
        sentences = [f"Beyond chance it is {'; '.join(sentences)}."]
    if equal := [other for other, sides in told.items() if not any(sides.values())]:
        numbers = ""
        if len(equal) == 1:
            accuracy, ece = (_numbers(differences[equal[0]], key) for key in TESTED)
            numbers = f" (accuracy {accuracy}; {ece})"
        sentences.append(f"These test pairs do not tell it apart from {listed(equal)}{numbers}.")
    return sentences


def _difference(measures: Differences, key: str, side: int) -> str:
    difference = measures[key]["difference"]
    if key == "ece":
        return f"{'worse' if side < 0 else 'better'} calibrated (ECE {difference:+.3f})"
    return f"{'less' if side < 0 else 'more'} accurate ({_points(difference)})"


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"


def _numbers(measures: Differences, key: str) -> str:
    found = measures[key]
    if key == "ece":
        return f"ECE {found['difference']:+.3f}, {interval_text(found['ci'], '+.3f', ' to ')}"
    ends = interval_text([100 * end for end in found["ci"]], "+.1f", " to ")
    return f"{_points(found['difference'])}, {ends}"


def _next(models: Sequence[Model], differences: Mapping[str, Differences], told: Told) -> str:
    """The first of these that holds."""
    model = models[0]
    mean = model.evaluation["mean"]
    sources = model.evaluation["sources"]
    served = [name for name, one in sources.items() if one["accuracy_ci"][0] > 0.5]
    opposed = [name for name, one in sources.items() if one["accuracy_ci"][1] < 0.5]
    if served and opposed and "shared" not in model.evaluation:
        return (
            f"The sources disagree: it serves {listed(served)}, and prefers what {listed(opposed)} "
            "reject. Fit a head to each source (more-ray calibrate)."
        )
    least = mean["accuracy_ci"][0]
    more = "Train on more pairs, look for wrong labels, or start from a larger model."
    if least <= 0.5:
        return f"Do not use it, for it is not shown to beat a coin. {more}"
    if least <= mean["longer_answer_accuracy"]:
        return f"It is not shown to beat taking the longer answer. {more}"
    if worse := [
        other for other, sides in told.items() if max(sides.values()) <= 0 > min(sides.values())
    ]:
        best = min(worse, key=lambda other: differences[other]["accuracy"]["difference"])
        return f"Use {best} instead."
    if _true_ece(model)[0]:
        return _cooling(model)
    if mixed := [other for other, sides in told.items() if sides["accuracy"] < 0]:
        return (
            f"Use {mixed[0]} where only the order of answers counts, {model.name} for "
            "probabilities."
        )
    if "shared" in model.evaluation:
        return _strangers(model)
    if weak := [name for name, one in sources.items() if one["accuracy_ci"][0] <= 0.5]:
        return (
            f"Fit a head to each source (more-ray calibrate): on {listed(weak)} it is not shown to "
            "beat a coin."
        )
    if equal := [other for other, sides in told.items() if not any(sides.values())]:
        return (
            f"Nothing here favours it over {listed(equal)}: take the simpler one, or test on more "
            "pairs."
        )
    if len(models) == 1 and len(model.trained_on) > 1:
        return "Train the plain mixture beside it (compare=[proportional]) to see what it gains."
    return "It can be used as it is (more-ray serve)."


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


def _strangers(model: Model) -> str:
    """What to do with several heads."""
    own = "Score people whose source is known by its head (source=NAME)"
    if not (left_out := model.evaluation.get("left_out")):
        return f"{own}."
    mean: SourceMeasures = left_out["mean"]
    numbers = f"{mean['accuracy']:.1%}, {interval_text(mean['accuracy_ci'], '.1%', ' to ')}"
    if mean["accuracy_ci"][0] <= 0.5:
        return (
            f"{own}. Ask others first: on people who were never asked it is not shown to beat a "
            f"coin ({numbers})."
        )
    return f"{own}, and people who were never asked as source=unknown ({numbers})."
