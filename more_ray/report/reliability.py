"""How often a model is right where it says how sure it is. Legend: N pairs, n some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from more_ray.metrics.calibration import correctness, sigmoid
from more_ray.metrics.intervals import wilson
from more_ray.metrics.labels import Floats, Labels, decided_pairs, taken, weighted_mean
from more_ray.metrics.scores import labels_of
from more_ray.report.drawing import LINE, Figure, Rows, colour, legend, marker, panels, svg
from more_ray.report.models import Model


def reliability(models: Sequence[Model]) -> Figure:
    """Accuracy of a model's preferences against their confidence, all sources together."""
    curves = _curves(models)
    rows: Rows = []
    with panels(4.2, 2, sharex=True, height_ratios=[3, 1]) as (canvas, (axes, below)):
        axes.plot([0.5, 1], [0.5, 1], color=LINE, linestyle="--", linewidth=1)
        for index, (name, (delta_N, labels)) in enumerate(curves.items()):
            part = _rows(name, delta_N, labels)
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
        axes.set_ylabel("how often it is right")
        below.set_ylabel("pairs")
        below.set_xlabel("how sure it is of the answer it prefers")
        below.set_xlim(0.5, 1)
        axes.grid()
        legend(canvas, axes)
    worst = largest_gap(models[0])
    text = (
        "How often the preferred answer is the chosen one, by how sure the model says it is, with "
        "95% intervals. On the dashed line it is right as often as it says; below, it is too sure. "
        f"What adds most to the error of {models[0].name}: where it says "
        f"{worst['confidence']:.0%} it is right {worst['accuracy']:.0%} of the time. All sources "
        "are together: too sure on one and too unsure on another cancel here, but not in the mean "
        "of the sources' ECE."
    )
    return Figure("Reliability: is it right as often as it says?", svg(canvas, text), text, rows)


def largest_gap(model: Model) -> dict[str, Any]:
    """The bin of a model's own scores that adds most to the ECE of all its pairs together."""
    delta_N, labels = next(iter(_curves([model]).values()))
    rows = _rows(model.name, delta_N, labels)
    return max(rows, key=lambda row: abs(row["confidence"] - row["accuracy"]) * row["pairs"])


def _curves(models: Sequence[Model]) -> dict[str, tuple[Floats, Labels]]:
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


def _rows(name: str, delta_N: Floats, labels: Labels) -> Rows:
    bin_N = np.ceil(10 * sigmoid(np.abs(delta_N))).astype(int)
    rows: Rows = []
    for number in range(6, 11):
        inside_N = bin_N == number if number > 6 else bin_N <= 6
        if inside_N.any():
            found = _agreement(delta_N, labels, inside_N)
            rows.append({"model": name, "bin": number, **found})
    return rows


def _agreement(
    delta_N: Floats, labels: Labels, some_n: NDArray[np.integer | np.bool_]
) -> dict[str, Any]:
    """How sure the model is of some pairs, and how often it is right on them."""
    delta_n, known = delta_N[some_n], taken(labels, some_n)
    weight_n = known.get("weight_N")
    right = weighted_mean(correctness(delta_n, known.get("share_N")), weight_n)
    low, high = wilson(right, decided_pairs(len(delta_n), weight_N=weight_n))
    return {
        "confidence": float(sigmoid(np.abs(delta_n)).mean()),
        "accuracy": right,
        "from": low,
        "to": high,
        "pairs": len(delta_n),
    }
