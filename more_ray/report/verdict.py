"""What a page about models says first, in words that follow from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from more_ray.metrics.evaluation import Differences, SourceMeasures, beats_guessing
from more_ray.metrics.written import interval_text
from more_ray.report.beside import beside, shown_sides
from more_ray.report.models import VAGUE, Model
from more_ray.report.next_step import next_step
from more_ray.report.reliability import largest_gap
from more_ray.report.watch import watched


def verdict(models: Sequence[Model], differences: Mapping[str, Differences]) -> dict[str, str]:
    """The verdict on the first model, by what it is about.

    Args:
        differences: its means over sources less those of others, by their names.
    """
    shown = shown_sides(differences)
    words = {
        "Accuracy": _accuracy(models[0]),
        "Trust": _trust(models[0]),
        "Beside others": beside(differences, shown),
        "Watch": " ".join(watched(models[0])),
        "Next": next_step(models, differences, shown),
    }
    return {about: text for about, text in words.items() if text}


def _accuracy(model: Model) -> str:
    mean, shared = model.evaluation["mean"], model.evaluation.get("shared")
    sources = model.evaluation["sources"]
    heads = ""
    if shared:
        by_shared = shared["mean"]["accuracy"]
        heads = f" by each source's own head, on {by_shared:.1%} by the shared one"
    words = f"{model.name} agrees with people on {_share(mean, ' of the test pairs')}{heads}. "
    words += _standing(model)
    if len(sources) > 1:
        lowest = min(sources, key=lambda name: sources[name]["accuracy"])
        words += f" It is lowest on {lowest}: {_share(sources[lowest])}."
    return words


def _share(measures: SourceMeasures, of: str = "") -> str:
    ends = interval_text(measures["accuracy_ci"], ".1%", " to ")
    return f"{measures['accuracy']:.1%}{of} ({ends})"


def _standing(model: Model) -> str:
    mean = model.evaluation["mean"]
    longer = mean["longer_answer_accuracy"]
    if not beats_guessing(mean):
        return (
            "That is not shown to be better than guessing; taking the longer answer agrees on "
            f"{longer:.1%}."
        )
    if not model.beats_longer:
        return (
            "That is better than guessing, but not shown to be better than taking the longer "
            f"answer ({longer:.1%})."
        )
    return f"That is better than guessing and than taking the longer answer ({longer:.1%})."


def _trust(model: Model) -> str:
    """Whether the probabilities hold, and where most of their error is."""
    mean = model.evaluation["mean"]
    low, high = model.true_ece
    if low:
        found = "Its probabilities cannot be trusted as they are"
        truth = f"between {low:.3f} and {high:.3f}"
    else:
        found, truth = "Its probabilities hold as far as these pairs tell", f"at most {high:.3f}"
        if high >= VAGUE:
            found = "Whether its probabilities can be trusted takes more test pairs to tell"
    gap = largest_gap(model)
    ends = interval_text([gap["from"], gap["to"]], ".0%", " to ")
    off = ""
    if not gap["from"] <= gap["confidence"] <= gap["to"]:
        off = f" it is too {'sure' if gap['confidence'] > gap['accuracy'] else 'unsure'}:"
    return (
        f"{found}. Where it counts most,{off} it says {gap['confidence']:.0%} and is right "
        f"{gap['accuracy']:.0%} of the time ({ends}; all sources together). Calibration error "
        "(ECE: how far what it says is from how often it is right, on average) "
        f"{mean['ece']:.3f}, probably {truth}; a perfect model would show "
        f"{mean['ece_noise_floor']:.3f} by chance."
    )
