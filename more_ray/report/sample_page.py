"""The page about a folder of samples: whom the choice pleases, and what more samples give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from more_ray.environment import environment
from more_ray.metrics.choice_rows import ABOUT_CHOICES, choice_rows
from more_ray.metrics.written import with_interval
from more_ray.report.choice_figures import best_of_n
from more_ray.report.drawing import Rows
from more_ray.report.templates import render, turned
from more_ray.report.watch import MUCH
from more_ray.report.words import explained, listed


def render_page(summary: Mapping[str, Any], settings: str) -> str:
    """The page as HTML, from the content of `summary.json`."""
    curves, choices = summary.get("best_of"), _by_gainer(summary)
    figures = []
    if curves:
        own = "shared" if curves["sources"] else "reward model"
        gains = {own: curves["shared"], **curves["sources"]}
        figures = [best_of_n(f"Best of n by {chosen_by(curves)}", curves["n"], gains)]
    return render(
        "sample.html.j2",
        title=f"The best of {summary['samples']:,} answers to {summary['prompts']:,} prompts",
        verdict=verdict(summary),
        words=explained(["reward model", "policy", *(["head", *choices[0]] if choices else [])]),
        choices=choices,
        about=ABOUT_CHOICES,
        figures=figures,
        environment=environment(),
        settings=settings,
    )


def verdict(summary: Mapping[str, Any]) -> dict[str, str]:
    """Whom the choice pleases, what to watch out for, and what to do next."""
    better, worse = _better_and_worse(summary)
    words = {
        "Result": _found(summary, better, worse),
        "Watch": _watched(summary),
        "Next": _next(summary, worse),
    }
    return {about: text for about, text in words.items() if text}


def _found(summary: Mapping[str, Any], better: list[str], worse: list[str]) -> str:
    mean, best = summary["mean_reward"], summary["mean_reward_of_best"]
    text = (
        f"The mean reward of all answers is {with_interval(mean, None)}, that of the best "
        f"{with_interval(best, None)}. {summary['duplicates']:.1%} of the answers repeat another, "
        f"{summary['empty']:.1%} are empty."
    )
    curves = summary.get("best_of")
    if not curves or not curves["sources"]:
        return text
    return (
        f"{text} Chosen by {chosen_by(curves)}, the best answers are shown to be better than the "
        f"mean answer for {listed(better) or 'no source'} and worse for {listed(worse) or 'none'}."
    )


def _better_and_worse(summary: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The sources for which the best answers are shown to be better, or worse, than the mean."""
    sources = (summary.get("best_of") or {"sources": {}})["sources"]
    ends = {name: gain_N[-1]["ci"] for name, gain_N in sources.items() if gain_N[-1]["ci"]}
    return (
        [name for name, ci in ends.items() if ci[0] > 0],
        [name for name, ci in ends.items() if ci[1] < 0],
    )


def _watched(summary: Mapping[str, Any]) -> str:
    if summary["unfinished"] < MUCH:
        return ""
    share = f"{summary['unfinished']:.1%}"
    return f"{share} of the answers were cut off: rewards are of unfinished answers."


def _next(summary: Mapping[str, Any], worse: list[str]) -> str:
    """The first of these that holds."""
    if summary["unfinished"] >= MUCH:
        return "Allow longer answers (sampling.max_new_tokens) and sample again."
    if worse:
        return f"Choose by a rule that does not cost {listed(worse)} (select.by, select.caution)."
    return "Fine-tune on the best answers (more-ray finetune)."


def _by_gainer(summary: Mapping[str, Any]) -> Rows:
    """A row for everybody and for each source, a column for each rule of choosing."""
    rows = choice_rows(summary)
    for row in rows:
        caution = row.pop("caution", "0")
        row["best by"] += f" with caution {caution}" if caution != "0" else ""
    return turned(rows, "best by") if rows else []


def chosen_by(curves: Mapping[str, Any]) -> str:
    """`the reward model`, of several heads `the shared head`, or `worst with caution 0.5`."""
    by = curves["by"]
    if by == "shared":
        by = "the shared head" if curves["sources"] else "the reward model"
    return by + (f" with caution {curves['caution']:g}" if curves["caution"] else "")
