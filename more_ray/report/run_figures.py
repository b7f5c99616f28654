"""The figures of a report, each with its numbers and a text that says what it shows.

Legend: K sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from more_ray.metrics.evaluation import SourceMeasures
from more_ray.metrics.measures import MEASURES, Measure, drawn
from more_ray.report.course_figures import conflicts, over_time
from more_ray.report.drawing import INK, Figure, colour, heatmap, legend, marker, panels, svg
from more_ray.report.heads_figures import drift_map, opposites
from more_ray.report.models import Model, RunFiles, mixtures
from more_ray.report.reliability import reliability
from more_ray.report.reward_figures import reward_differences


def main_figures(models: Sequence[Model]) -> Iterator[Figure]:
    """What a reader looks at first; the page is about the first model."""
    first, mixed = models[0], mixtures(models)
    for measure in drawn():
        yield measures_by_source(mixed, measure)
    yield reliability(mixed)
    if (table := first.first.disagreements) is not None:
        yield opposites(table)
    if "drifts" in first.evaluation:
        yield drift_map(first.evaluation["drifts"])


def further_figures(models: Sequence[Model]) -> Iterator[Figure]:
    """The course of training, distributions, and models of a single source.

    Of a model with several seeds they are those of the first.
    """
    first, mixed = models[0], mixtures(models)
    singles = [model for model in models if model.single]
    if first.trained_on:
        yield over_time(first, "lam", "Weight of each source (lam)")
        yield over_time(first, "source_loss", "Ranking loss of each source")
    if len(first.trained_on) > 1:
        yield conflicts(first)
    yield reward_differences(mixed)
    if len(singles) > 1:
        for measure in drawn():
            yield single_sources(singles, measure)


def measures_by_source(models: Sequence[Model], measure: Measure) -> Figure:
    """A measure of each model on each source with its 95% interval (the paper's Figures 3, 4).

    The page's first tables have the numbers.
    """
    key, title, mark = measure.key, measure.title, MEASURES[measure.mark]
    names = [*models[0].first.scores, "mean"]
    with panels(0.5 + len(names) * (0.2 + 0.16 * len(models))) as (canvas, (axes,)):
        for index, model in enumerate(models):
            measures = [measures_of(model, name) for name in names]
            value = np.array([row[key] for row in measures])
            low, high = np.array([row[f"{key}_ci"] for row in measures]).T
            y = np.arange(len(names)) + (index - (len(models) - 1) / 2) * 0.7 / len(models)
            # An interval for the true ECE may lie below the estimate.
            axes.hlines(y, low, high, color=colour(index), linewidth=1.5)
            axes.plot(value, y, marker(index), color=colour(index), markersize=5, label=model.name)
            for run in model.runs if len(model.runs) > 1 else []:
                seed = [measures_of(run, name)[key] for name in names]
                axes.plot(seed, y, "|", color=colour(index), markersize=4, alpha=0.7)
            marks = [row[mark.key] for row in measures]
            label = mark.title if model is models[-1] else None
            axes.plot(marks, y, "|", color=INK, markersize=9, label=label)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_xlabel(f"{title} (95% interval)")
        legend(canvas, axes)
    seeds = "; small marks are seeds" if any(len(model.runs) > 1 for model in models) else ""
    text = f"{title} with 95% intervals{seeds}."
    if len(models) > 1:
        best = max if measure.better == "max" else min
        first = best(models, key=lambda model: model.evaluation["mean"][key])
        text += f" Best on the mean: {first.name}, {first.evaluation['mean'][key]:.3f}."
    return Figure(f"{title} by source", svg(canvas, text), text)


def single_sources(models: Sequence[Model], measure: Measure) -> Figure:
    """A measure of single-source models on every source (the paper's Figure 1, left)."""
    title = measure.heading
    names = list(models[0].first.scores)
    trained = [model.trained_on[0] for model in models]
    value_KK = np.array(
        [[model.evaluation["sources"][name][measure.key] for name in names] for model in models]
    )
    best_row = value_KK.argmax(axis=0) if measure.better == "max" else value_KK.argmin(axis=0)
    middle = 0.5 if measure.interval == "wilson" else 0.0  # a share of pairs at chance level
    home = sum(trained[row] == name for row, name in zip(best_row, names, strict=True))
    text = (
        f"{title} of models that were each trained on one source (rows) on every source (columns). "
        f"On {home} of {len(names)} sources the source's own model is the best."
    )
    return heatmap(
        f"{title} of models of one source", text, value_KK - middle, trained, names,
        "trained on", middle,
    )  # fmt: skip


def measures_of(model: Model | RunFiles, source: str) -> SourceMeasures:
    """The measures on a source, or in the mean over sources."""
    return model.evaluation["mean"] if source == "mean" else model.evaluation["sources"][source]
