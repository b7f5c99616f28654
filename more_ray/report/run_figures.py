"""The figures of a report, each with its numbers and a text that says what it shows.

Legend: N pairs, K sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from more_ray.metrics.calibration import correctness, sigmoid
from more_ray.metrics.evaluation import SourceMeasures
from more_ray.metrics.intervals import wilson
from more_ray.metrics.labels import Labels, decided_pairs, weighted_mean
from more_ray.metrics.measures import MEASURES, Measure, drawn
from more_ray.metrics.scores import labels_of
from more_ray.report.course_figures import conflicts, over_time
from more_ray.report.drawing import (
    INK,
    LINE,
    Figure,
    Rows,
    colour,
    heatmap,
    legend,
    marker,
    panels,
    svg,
)
from more_ray.report.heads_figures import drift_map
from more_ray.report.models import Model, RunFiles, mixtures
from more_ray.report.reward_figures import reward_differences, rewards


def make_figures(models: Sequence[Model]) -> Iterator[Figure]:
    """All figures that the models have data for; the page is about the first model.

    For a model with several seeds, training course and distributions are those of the first.
    """
    singles = [model for model in models if model.single]
    mixed = mixtures(models)
    for measure in drawn():
        yield measures_by_source(mixed, measure)
    yield reliability(mixed)
    if "drifts" in models[0].evaluation:
        yield drift_map(models[0].evaluation["drifts"])
    trained = [model for model in mixed if model.evaluation["step"] != 0]
    # Without the untrained model, whose differences would dwarf the others.
    yield reward_differences(trained or mixed)
    yield rewards(models[0])
    if models[0].trained_on:
        yield over_time(models[0], "lam", "Weight of each source (lam)")
        yield over_time(models[0], "source_loss", "Ranking loss of each source")
    if len(models[0].trained_on) > 1:
        yield conflicts(models[0])
    if len(singles) > 1:
        for measure in drawn():
            yield single_sources(singles, measure)


def measures_by_source(models: Sequence[Model], measure: Measure) -> Figure:
    """A measure of each model on each source with its 95% interval (the paper's Figures 3, 4)."""
    key, title, mark = measure.key, measure.title, MEASURES[measure.mark]
    names = [*models[0].first.scores, "mean"]
    rows: Rows = []
    with panels(0.5 + len(names) * (0.2 + 0.16 * len(models))) as (canvas, (axes,)):
        for index, model in enumerate(models):
            measures = [_measures(model, name) for name in names]
            value = np.array([row[key] for row in measures])
            low, high = np.array([row[f"{key}_ci"] for row in measures]).T
            y = np.arange(len(names)) + (index - (len(models) - 1) / 2) * 0.7 / len(models)
            # An interval for the true ECE may lie below the estimate.
            axes.hlines(y, low, high, color=colour(index), linewidth=1.5)
            axes.plot(value, y, marker(index), color=colour(index), markersize=5, label=model.name)
            rows += [
                {"model": model.name, "source": name, title: v, "from": start, "to": end}
                for name, v, start, end in zip(names, value, low, high, strict=True)
            ]
            for run in model.runs if len(model.runs) > 1 else []:
                seed = [_measures(run, name)[key] for name in names]
                axes.plot(seed, y, "|", color=colour(index), markersize=4, alpha=0.7)
        marks = [_measures(models[0], name)[mark.key] for name in names]
        axes.plot(marks, range(len(names)), "|", color=INK, markersize=16, label=mark.title)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_xlabel(f"{title} (95% interval)")
        legend(canvas, axes)
    best = max if measure.better == "max" else min
    first = best(models, key=lambda model: model.evaluation["mean"][key])
    text = (
        f"{title} of {len(models)} model(s) on {len(names) - 1} source(s); small marks are seeds. "
        f"Best on the mean: {first.name}, {first.evaluation['mean'][key]:.3f}."
    )
    return Figure(f"{title} by source", svg(canvas, text), text, rows)


def reliability(models: Sequence[Model]) -> Figure:
    """Accuracy of a model's preferences against their confidence, all sources together."""
    curves = _curves(models)
    rows: Rows = []
    with panels(4.2, 2, sharex=True, height_ratios=[3, 1]) as (canvas, (axes, below)):
        axes.plot([0.5, 1], [0.5, 1], color=LINE, linestyle="--", linewidth=1)
        for index, (name, (delta_N, labels)) in enumerate(curves.items()):
            part = _reliability_rows(name, delta_N, labels)
            rows += part
            x = [row["confidence"] for row in part]
            y = [row["accuracy"] for row in part]
            spread = [
                [max(0.0, row["accuracy"] - row["from"]) for row in part],  # rounding
                [max(0.0, row["to"] - row["accuracy"]) for row in part],
            ]
            axes.errorbar(
                x, y, spread, fmt=f"{marker(index)}-", color=colour(index), label=name,
                markersize=5, linewidth=1, capsize=2,
            )  # fmt: skip
            middle = 0.55 + 0.1 * np.arange(5)
            count = np.zeros(5)
            for row in part:
                count[row["bin"] - 6] = row["pairs"]
            width = 0.08 / len(curves)
            shift = (index - (len(curves) - 1) / 2) * width
            below.bar(middle + shift, count, width, color=colour(index))
        axes.set_ylabel("accuracy")
        below.set_ylabel("pairs")
        below.set_xlabel("confidence in the preferred answer")
        below.set_xlim(0.5, 1)
        axes.grid()
        legend(canvas, axes)
    worst = max(rows, key=lambda row: abs(row["confidence"] - row["accuracy"]) * row["pairs"])
    side = "more" if worst["confidence"] > worst["accuracy"] else "less"
    text = (
        "Accuracy against confidence in bins of width 0.1, with 95% intervals; on the dashed line "
        "they are equal. All sources are together, so that too much confidence on one and too "
        "little on another cancel, as they do not in the mean of the sources' ECE. The gap that "
        f"counts most: {worst['model']} is {side} confident than accurate at confidence "
        f"{worst['confidence']:.2f} (accuracy {worst['accuracy']:.2f})."
    )
    return Figure("Reliability", svg(canvas, text), text, rows)


def _curves(models: Sequence[Model]) -> dict[str, tuple[NDArray[np.float64], Labels]]:
    """The reward differences `[N]` behind each curve, and their labels: of calibrated models, by
    two heads."""
    curves = {}
    for model in models:
        scores = list(model.first.scores.values())
        delta_N, labels = np.concatenate([one.delta_N for one in scores]), labels_of(scores)
        if (table := model.first.disagreements) is None:
            curves[model.name] = delta_N, labels
        else:
            curves[f"{model.name}, own heads"] = delta_N, labels
            curves[f"{model.name}, shared head"] = logit(table["shared"].to_numpy()), labels
    return curves


def _reliability_rows(name: str, delta_N: NDArray[np.float64], labels: Labels) -> Rows:
    right_N, weight_N = correctness(delta_N, labels.get("share_N")), labels.get("weight_N")
    confidence_N = sigmoid(np.abs(delta_N))
    bin_N = np.ceil(10 * confidence_N).astype(int)
    rows: Rows = []
    for number in range(6, 11):
        inside_N = bin_N == number if number > 6 else bin_N <= 6
        if inside_N.any():
            weight_n = None if weight_N is None else weight_N[inside_N]
            right, pairs = weighted_mean(right_N[inside_N], weight_n), int(inside_N.sum())
            low, high = wilson(right, decided_pairs(pairs, weight_N=weight_n))
            rows.append(
                {
                    "model": name,
                    "bin": number,
                    "confidence": float(confidence_N[inside_N].mean()),
                    "accuracy": right,
                    "from": low,
                    "to": high,
                    "pairs": pairs,
                }
            )
    return rows


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
        f"{title} of models of one source", text, value_KK - middle, trained, names, 0.5,
        "trained on", middle,
    )  # fmt: skip


def _measures(model: Model | RunFiles, source: str) -> SourceMeasures:
    return model.evaluation["mean"] if source == "mean" else model.evaluation["sources"][source]
