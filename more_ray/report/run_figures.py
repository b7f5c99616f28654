"""The figures of a report, each with the numbers behind it and a text that says what it shows.

Legend: N pairs, K sources, S steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from more_ray.metrics.accuracy import accuracy_interval
from more_ray.metrics.calibration import sigmoid
from more_ray.report.drawing import (
    INK,
    LINE,
    STYLE,
    WIDTH,
    Figure,
    Rows,
    colour,
    heatmap,
    legend,
    marker,
    outline,
    svg,
)
from more_ray.report.models import Model, RunFiles, mixtures


def make_figures(models: Sequence[Model]) -> Iterator[Figure]:
    """All figures that the models have data for; the page is about the first model.

    Of a model with several seeds, course and distributions are those of the first.
    """
    singles = [model for model in models if model.single]
    mixed = mixtures(models)
    yield measures_by_source(mixed, "accuracy", "Accuracy")
    yield measures_by_source(mixed, "ece", "Expected calibration error")
    yield reliability(mixed)
    trained = [model for model in mixed if model.evaluation["step"] != 0]
    yield reward_differences(trained or mixed)  # the untrained model's would dwarf the others
    yield rewards(models[0])
    if models[0].trained_on:
        yield over_time(models[0], "lam", "Weight of each source (lam)")
        yield over_time(models[0], "source_loss", "Ranking loss of each source")
    if len(models[0].trained_on) > 1:
        yield conflicts(models[0])
    if len(singles) > 1:
        yield single_sources(singles, "accuracy", "Accuracy", middle=0.5)
        yield single_sources(singles, "ece", "ECE", middle=0.0)


def measures_by_source(models: Sequence[Model], key: str, title: str) -> Figure:
    """A measure of every model on every source with its 95% interval (the paper's Figures 3, 4)."""
    names = [*models[0].first.scores, "mean"]
    rows: Rows = []
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH, 0.5 + len(names) * (0.2 + 0.16 * len(models))))
        axes = canvas.add_subplot()
        for place, model in enumerate(models):
            measures = [_measures(model, name) for name in names]
            value = np.array([one[key] for one in measures])
            low, high = np.array([one[f"{key}_ci"] for one in measures]).T
            y = np.arange(len(names)) + (place - (len(models) - 1) / 2) * 0.7 / len(models)
            # An interval for the true ECE may lie below the estimate.
            axes.hlines(y, low, high, color=colour(place), linewidth=1.5)
            axes.plot(value, y, marker(place), color=colour(place), markersize=5, label=model.name)
            rows += [
                {"model": model.name, "source": name, title: v, "from": start, "to": end}
                for name, v, start, end in zip(names, value, low, high, strict=True)
            ]
            for run in model.runs if len(model.runs) > 1 else []:
                seed = [_measures(run, name)[key] for name in names]
                axes.plot(seed, y, "|", color=colour(place), markersize=4, alpha=0.7)
        reference, label = {
            "accuracy": ("longer_answer_accuracy", "the longer answer"),
            "ece": ("ece_noise_floor", "noise floor"),
        }[key]
        marks = [_measures(models[0], name)[reference] for name in names]
        axes.plot(marks, range(len(names)), "|", color=INK, markersize=16, label=label)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_xlabel(f"{title} (95% interval)")
        legend(canvas, axes)
    best = max if key == "accuracy" else min
    first = best(models, key=lambda model: model.evaluation["mean"][key])
    text = (
        f"{title} of {len(models)} model(s) on {len(names) - 1} source(s); small marks are seeds. "
        f"Best on the mean: {first.name}, {first.evaluation['mean'][key]:.3f}."
    )
    return Figure(f"{title} by source", svg(canvas, text), text, rows)


def reliability(models: Sequence[Model]) -> Figure:
    """How often answers are right that a model prefers with a confidence, all sources together."""
    rows: Rows = []
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH, 4.2))
        axes, below = canvas.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        axes.plot([0.5, 1], [0.5, 1], color=LINE, linestyle="--", linewidth=1)
        for place, model in enumerate(models):
            part = _reliability_rows(model)
            rows += part
            x = [row["confidence"] for row in part]
            y = [row["accuracy"] for row in part]
            spread = [
                [max(0.0, row["accuracy"] - row["from"]) for row in part],  # rounding
                [max(0.0, row["to"] - row["accuracy"]) for row in part],
            ]
            axes.errorbar(
                x, y, spread, fmt=f"{marker(place)}-", color=colour(place), label=model.name,
                markersize=5, linewidth=1, capsize=2,
            )  # fmt: skip
            middle = 0.55 + 0.1 * np.arange(5)
            count = np.zeros(5)
            for row in part:
                count[row["bin"] - 6] = row["pairs"]
            width = 0.08 / len(models)
            shift = (place - (len(models) - 1) / 2) * width
            below.bar(middle + shift, count, width, color=colour(place))
        axes.set_ylabel("right")
        below.set_ylabel("pairs")
        below.set_xlabel("confidence in the preferred answer")
        below.set_xlim(0.5, 1)
        axes.grid()
        legend(canvas, axes)
    worst = max(rows, key=lambda row: abs(row["confidence"] - row["accuracy"]) * row["pairs"])
    side = "more" if worst["confidence"] > worst["accuracy"] else "less"
    text = (
        "Accuracy against confidence in bins of width 0.1, with 95% intervals; on the dashed line "
        f"confidence is right. The gap that counts most: {worst['model']} is {side} sure than "
        f"right at confidence {worst['confidence']:.2f} (right in {worst['accuracy']:.2f})."
    )
    return Figure("Reliability", svg(canvas, text), text, rows)


def _reliability_rows(model: Model) -> Rows:
    delta_N = np.concatenate([_delta(model, name) for name in model.first.scores])
    confidence_N = sigmoid(np.abs(delta_N))
    bin_N = np.ceil(10 * confidence_N).astype(int)
    rows: Rows = []
    for number in range(6, 11):
        inside_N = bin_N == number if number > 6 else bin_N <= 6
        if inside_N.any():
            low, high = accuracy_interval(delta_N[inside_N])
            rows.append(
                {
                    "model": model.name,
                    "bin": number,
                    "confidence": float(confidence_N[inside_N].mean()),
                    "accuracy": float((delta_N[inside_N] > 0).mean()),
                    "from": low,
                    "to": high,
                    "pairs": int(inside_N.sum()),
                }
            )
    return rows


def reward_differences(models: Sequence[Model]) -> Figure:
    """Reward of the chosen less the rejected answer, by source (the paper's Figures 1 and 5)."""
    names = list(models[0].first.scores)
    everything = np.concatenate([_delta(model, name) for model in models for name in names])
    edges = _edges(everything, 0.005)
    rows: Rows = []
    with matplotlib.rc_context(STYLE):
        canvas, panels = _panels(names, "reward of chosen less rejected")
        for panel, name in zip(panels, names, strict=True):
            panel.axvline(0, color=LINE, linewidth=1)
            for place, model in enumerate(models):
                delta_N = _delta(model, name)
                outline(panel, delta_N, edges, place, model.name)
                rows.append({"model": model.name, "source": name, **_spread(delta_N)})
        legend(canvas, panels[0])
    widest = max(rows, key=lambda row: row["standard deviation"])
    text = (
        "Distribution of reward differences; right of zero the model agrees with the annotators. "
        f"Widest: {widest['model']} on {widest['source']}, "
        f"standard deviation {widest['standard deviation']:.2f}."
    )
    return Figure("Reward differences", svg(canvas, text), text, rows)


def rewards(model: Model) -> Figure:
    """Rewards of chosen and rejected answers of one model (the paper's Figures 8 and 9)."""
    names = list(model.first.scores)
    both = [
        (one.chosen_N.astype(float), one.rejected_N.astype(float))
        for one in model.first.scores.values()
    ]
    edges = _edges(np.concatenate([*map(np.concatenate, both)]), 0.0)
    rows: Rows = []
    with matplotlib.rc_context(STYLE):
        canvas, panels = _panels(names, "reward")
        for panel, name, pair in zip(panels, names, both, strict=True):
            for place, (answer, reward_N) in enumerate(
                zip(("chosen", "rejected"), pair, strict=True)
            ):
                outline(panel, reward_N, edges, place, answer)
                rows.append({"source": name, "answer": answer, **_spread(reward_N)})
        legend(canvas, panels[0])
    text = (
        f"Distribution of the rewards that {model.name} gives to chosen and to rejected answers. "
        "Their overlap is large wherever accuracy is near one half."
    )
    return Figure(f"Rewards by {model.name}", svg(canvas, text), text, rows)


def over_time(model: Model, key: str, title: str) -> Figure:
    """A value of each source over the steps, averaged over a twentieth of the run."""
    names = list(model.first.metrics[0][key])
    value_SK = np.array([[line[key][name] for name in names] for line in model.first.metrics])
    step_S = np.array([line["step"] for line in model.first.metrics])
    window = max(1, len(step_S) // 20)
    whole = len(step_S) // window * window
    smooth_SK = value_SK[:whole].reshape(-1, window, len(names)).mean(axis=1)
    at_S = step_S[:whole].reshape(-1, window).mean(axis=1)
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH, 2.8))
        axes = canvas.add_subplot()
        for place, name in enumerate(names):
            axes.plot(
                at_S, smooth_SK[:, place], f"{marker(place)}-", color=colour(place), label=name,
                markersize=3, linewidth=1.2,
            )  # fmt: skip
        axes.set_xlabel("step")
        axes.grid()
        legend(canvas, axes)
    mean_K = value_SK.mean(axis=0)
    high, low = names[mean_K.argmax()], names[mean_K.argmin()]
    text = (
        f"{title} in {model.name} over {len(step_S)} steps, means of {window} steps. On average "
        f"highest for {high} ({mean_K.max():.3f}), lowest for {low} ({mean_K.min():.3f})."
    )
    rows = [
        {"step": float(step), **{name: float(v) for name, v in zip(names, values, strict=True)}}
        for step, values in zip(at_S, smooth_SK, strict=True)
    ]
    return Figure(title, svg(canvas, text), text, rows)


def conflicts(model: Model) -> Figure:
    """Mean cosine between the sources' head gradients: negative where two sources fight."""
    names = model.trained_on
    cosine_KK = np.mean([line["cosine"] for line in model.first.metrics], axis=0)
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    i, j = min(pairs, key=lambda pair: cosine_KK[pair])
    text = (
        f"Mean cosine between head gradients in {len(model.first.metrics)} steps of {model.name}. "
        f"The two sources that agree least: {names[i]} and {names[j]} ({cosine_KK[i, j]:+.2f})."
    )
    return heatmap("Which sources fight", text, cosine_KK, names, names, 1.0, "source")


def single_sources(models: Sequence[Model], key: str, title: str, middle: float) -> Figure:
    """A measure of models of one source on every source (the paper's Figure 1, left)."""
    names = list(models[0].first.scores)
    trained = [model.trained_on[0] for model in models]
    value_KK = np.array(
        [[model.evaluation["sources"][name][key] for name in names] for model in models]
    )
    best_row = value_KK.argmax(axis=0) if key == "accuracy" else value_KK.argmin(axis=0)
    home = sum(trained[row] == name for row, name in zip(best_row, names, strict=True))
    text = (
        f"{title} of models that were each trained on one source (rows) on every source (columns). "
        f"On {home} of {len(names)} sources the source's own model is the best."
    )
    return heatmap(
        f"{title} of models of one source", text, value_KK - middle, trained, names, 0.5,
        "trained on", middle,
    )  # fmt: skip


def _measures(model: Model | RunFiles, source: str) -> dict[str, Any]:
    return model.evaluation["mean"] if source == "mean" else model.evaluation["sources"][source]


def _delta(model: Model, source: str) -> NDArray[np.float64]:
    return model.first.scores[source].delta_N


def _panels(names: Sequence[str], label: str) -> tuple[Canvas, Sequence[Axes]]:
    """A panel for the distributions on each source, over one axis."""
    canvas = Canvas(figsize=(WIDTH, 0.6 + 1.0 * len(names)))
    panels = canvas.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        panel.set_title(name)
        panel.set_yticks([])
    panels[-1].set_xlabel(label)
    return canvas, panels


def _edges(value_N: NDArray[np.floating], outside: float) -> NDArray[np.float64]:
    """Thirty bins over all values but a share of `outside` at each end."""
    low, high = np.quantile(value_N, [outside, 1 - outside])
    return np.linspace(low, high, 31) if low < high else np.linspace(low - 1, high + 1, 31)


def _spread(value_N: NDArray[np.float64]) -> dict[str, float]:
    low, middle, high = np.quantile(value_N, [0.05, 0.5, 0.95])
    return {
        "mean": float(value_N.mean()),
        "standard deviation": float(value_N.std()),
        "5%": float(low),
        "median": float(middle),
        "95%": float(high),
    }
