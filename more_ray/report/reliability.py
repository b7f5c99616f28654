"""How often a model is right where it says how sure it is. Legend: N pairs, n some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.special import logit

from more_ray.metrics.calibration import correctness, sigmoid
from more_ray.metrics.intervals import wilson
from more_ray.metrics.labels import Floats, Labels, decided_pairs, taken, weighted_mean
from more_ray.metrics.scores import labels_of
from more_ray.report.drawing import LINE, Figure, Rows, colour, legend, marker, panels, svg
from more_ray.report.models import Model

FEW = 20
"""A bin of fewer pairs says little."""


@dataclass(frozen=True)
class Curve:
    """The reward differences `[N]` behind a curve, and their labels."""

    name: str
    delta_N: Floats
    labels: Labels
    shared: bool = False
    """By the shared head of a calibrated model."""


def reliability(models: Sequence[Model]) -> Figure:
    """Accuracy of a model's preferences against their confidence, all sources together."""
    curves = [(index, curve) for index, model in enumerate(models) for curve in _curves(model)]
    rows: Rows = []
    with panels(3.6, 2, sharex=True, height_ratios=[3, 1]) as (canvas, (axes, below)):
        axes.plot([0.5, 1], [0.5, 1], color=LINE, linestyle="--", linewidth=1)
        width = 0.08 / len(curves)
        for place, (index, curve) in enumerate(curves):
            part = _rows(curve)
            rows += part
            _draw(axes, part, index, curve)
            at = [0.1 * row["bin"] - 0.05 + (place - (len(curves) - 1) / 2) * width for row in part]
            below.bar(
                at, [row["pairs"] for row in part], width, edgecolor=colour(index),
                facecolor="none" if curve.shared else colour(index),
            )  # fmt: skip
        axes.set_ylabel("how often it is right")
        below.set_ylabel("pairs")
        below.set_yscale("log")  # a few pairs are seen, too
        below.yaxis.set_major_formatter("{x:g}")
        below.set_ylim(bottom=0.5)
        below.set_xlabel("how sure it is of the answer it prefers")
        below.set_xlim(0.5, 1)
        axes.grid()
        legend(canvas, axes)
    worst = largest_gap(models[0])
    text = (
        "How often the preferred answer is the chosen one, by how sure the model says it is, with "
        "95% intervals. On the dashed line it is right as often as it says; below, it is too sure. "
        f"Faint: fewer than {FEW} pairs, where chance decides. "
        f"What adds most to the error of {models[0].name}: where it says "
        f"{worst['confidence']:.0%} it is right {worst['accuracy']:.0%} of the time. All sources "
        "are together: too sure on one and too unsure on another cancel here, but not in the mean "
        "of the sources' ECE."
    )
    return Figure("Reliability: is it right as often as it says?", svg(canvas, text), text, rows)


def _draw(axes: Axes, part: Rows, index: int, curve: Curve) -> None:
    """The curve in the colour and the marker of its model; bins of few pairs are faint dots."""
    few = [row for row in part if row["pairs"] < FEW]
    known = [row for row in part if row["pairs"] >= FEW]
    style = {"color": colour(index), "markersize": 5, "linewidth": 1}
    style["markerfacecolor"] = "none" if curve.shared else colour(index)
    spread = [
        [max(0.0, row["accuracy"] - row["from"]) for row in known],  # rounding
        [max(0.0, row["to"] - row["accuracy"]) for row in known],
    ]
    axes.errorbar(
        [row["confidence"] for row in known], [row["accuracy"] for row in known], spread,
        fmt=marker(index), linestyle="--" if curve.shared else "-", label=curve.name, capsize=2,
        **style,
    )  # fmt: skip
    axes.plot(
        [row["confidence"] for row in few], [row["accuracy"] for row in few], marker(index),
        alpha=0.45, **style,
    )  # fmt: skip


def largest_gap(model: Model) -> dict[str, Any]:
    """The bin of a model's own scores that adds most to the ECE of all its pairs together."""
    rows = _rows(_curves(model)[0])
    return max(rows, key=lambda row: abs(row["confidence"] - row["accuracy"]) * row["pairs"])


def _curves(model: Model) -> list[Curve]:
    """Of a calibrated model a curve of the own heads and one of the shared head."""
    scores = list(model.first.scores.values())
    delta_N, labels = np.concatenate([one.delta_N for one in scores]), labels_of(scores)
    if (table := model.first.disagreements) is None:
        return [Curve(model.name, delta_N, labels)]
    shared_N = logit(table["shared"].to_numpy())
    return [
        Curve(f"{model.name}, own heads", delta_N, labels),
        Curve(f"{model.name}, shared head", shared_N, labels, shared=True),
    ]


def _rows(curve: Curve) -> Rows:
    bin_N = np.ceil(10 * sigmoid(np.abs(curve.delta_N))).astype(int)
    rows: Rows = []
    for number in range(6, 11):
        inside_N = bin_N == number if number > 6 else bin_N <= 6
        if inside_N.any():
            found = _agreement(curve.delta_N, curve.labels, inside_N)
            rows.append({"model": curve.name, "bin": number, **found})
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
