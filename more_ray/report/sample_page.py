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


def render_page(summary: Mapping[str, Any], settings: str) -> str:
    """The page as HTML, from the content of `summary.json`."""
    curves = summary.get("best_of")
    figures = []
    if curves:
        gains = {"shared": curves["shared"], **curves["sources"]}
        figures = [best_of_n(f"Best of n by {chosen_by(curves)}", curves["n"], gains)]
    return render(
        "sample.html.j2",
        title=f"The best of {summary['samples']:,} answers to {summary['prompts']:,} prompts",
        verdict=verdict(summary),
        choices=_by_gainer(summary),
        about=ABOUT_CHOICES,
        figures=figures,
        environment=environment(),
        settings=settings,
    )


def verdict(summary: Mapping[str, Any]) -> str:
    """The page's first sentences."""
    mean, best = summary["mean_reward"], summary["mean_reward_of_best"]
    text = (
        f"The mean reward of all answers is {with_interval(mean, None)}, that of the best "
        f"{with_interval(best, None)}. {summary['duplicates']:.1%} of the answers repeat another, "
        f"{summary['empty']:.1%} are empty, {summary['unfinished']:.1%} were cut off."
    )
    curves = summary.get("best_of")
    if not curves or not curves["sources"]:
        return text
    ends = {name: gain_N[-1]["ci"] for name, gain_N in curves["sources"].items()}
    better = [name for name, ci in ends.items() if ci and ci[0] > 0]
    worse = [name for name, ci in ends.items() if ci and ci[1] < 0]
    return (
        f"{text} Chosen by {chosen_by(curves)}, the best answers are better than the mean answer "
        f"for {', '.join(better) or 'no source'} and worse for {', '.join(worse) or 'none'}."
    )


def _by_gainer(summary: Mapping[str, Any]) -> Rows:
    """A row for everybody and for each source, a column for each rule of choosing."""
    rows = choice_rows(summary)
    for row in rows:
        caution = row.pop("caution", "0")
        row["best by"] += f" with caution {caution}" if caution != "0" else ""
    return turned(rows, "best by") if rows else []


def chosen_by(curves: Mapping[str, Any]) -> str:
    """`worst`, or `worst with caution 0.5`."""
    return curves["by"] + (f" with caution {curves['caution']:g}" if curves["caution"] else "")
