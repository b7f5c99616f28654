"""The course of training: weights, losses and conflicts of sources. Legend: K sources, S steps."""

from __future__ import annotations

from typing import Literal

import numpy as np

from more_ray.report.drawing import Figure, between, colour, heatmap, legend, marker, panels, svg
from more_ray.report.models import Model


def over_time(model: Model, key: Literal["lam", "source_loss"], title: str) -> Figure:
    """A value of each source over the steps, in means over a twentieth of the run."""
    names = list(model.first.metrics[0][key])
    value_SK = np.array([[line[key][name] for name in names] for line in model.first.metrics])
    step_S = np.array([line["step"] for line in model.first.metrics])
    window = max(1, len(step_S) // 20)
    used = len(step_S) // window * window
    smooth_SK = value_SK[:used].reshape(-1, window, len(names)).mean(axis=1)
    at_S = step_S[:used].reshape(-1, window).mean(axis=1)
    with panels(2.8) as (canvas, (axes,)):
        for index, name in enumerate(names):
            axes.plot(
                at_S, smooth_SK[:, index], f"{marker(index)}-", color=colour(index), label=name,
                markersize=3, linewidth=1.2,
            )  # fmt: skip
        axes.set_xlabel("step")
        axes.grid()
        legend(canvas, axes)
    mean_K = value_SK.mean(axis=0)
    high, low = names[mean_K.argmax()], names[mean_K.argmin()]
    means = f", means of {window} steps" if window > 1 else ""
    text = (
        f"{title} in {model.name} over {len(step_S)} steps{means}. On average "
        f"highest for {high} ({mean_K.max():.3f}), lowest for {low} ({mean_K.min():.3f})."
    )
    rows = [
        {"step": f"{step:g}", **{name: float(v) for name, v in zip(names, values, strict=True)}}
        for step, values in zip(at_S, smooth_SK, strict=True)
    ]
    return Figure(title, svg(canvas, text), text, rows)


def conflicts(model: Model) -> Figure:
    """Mean cosine between the sources' head gradients: negative where two sources conflict."""
    names = model.trained_on
    cosine_KK = np.mean([line["cosine"] for line in model.first.metrics], axis=0)
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    i, j = min(pairs, key=lambda pair: cosine_KK[pair])
    text = (
        f"Mean cosine between head gradients in {len(model.first.metrics)} steps of {model.name}. "
        f"The two sources that agree least: {names[i]} and {names[j]} ({cosine_KK[i, j]:+.2f})."
    )
    title = "Conflicts between sources"
    return heatmap(title, text, between(cosine_KK), names, names, "source")
