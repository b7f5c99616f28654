"""The distributions of reward differences. Legend: N pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from more_ray.report.drawing import LINE, Figure, Rows, legend, outline, panels, svg
from more_ray.report.models import Model


def reward_differences(models: Sequence[Model]) -> Figure:
    """Reward of the chosen minus the rejected answer, by source (the paper's Figures 1 and 5)."""
    names = list(models[0].first.scores)
    drawn = list(enumerate(models))
    # Without the untrained model, whose differences would dwarf the others.
    drawn = [(i, model) for i, model in drawn if model.evaluation["step"] != 0] or drawn
    all_deltas = np.concatenate(
        [model.first.scores[name].delta_N for _, model in drawn for name in names]
    )
    edges = _edges(all_deltas, 0.005)
    rows: Rows = []
    with panels(0.6 + 1.0 * len(names), len(names), sharex=True) as (canvas, all_axes):
        for panel, name in zip(all_axes, names, strict=True):
            panel.set_title(name)
            panel.set_yticks([])
            panel.axvline(0, color=LINE, linewidth=1)
            for index, model in drawn:
                delta_N = model.first.scores[name].delta_N
                outline(panel, delta_N, edges, index, model.name)
                rows.append({"model": model.name, "source": name, **_spread(delta_N)})
        all_axes[-1].set_xlabel("reward of chosen minus rejected")
        legend(canvas, all_axes[0])
    widest = max(rows, key=lambda row: row["standard deviation"])
    text = (
        "Distribution of reward differences; right of zero the model agrees with the annotators. "
        f"Widest: {widest['model']} on {widest['source']}, "
        f"standard deviation {widest['standard deviation']:.2f}."
    )
    return Figure("Reward differences", svg(canvas, text), text, rows)


def _edges(value_N: NDArray[np.floating], outside: float) -> NDArray[np.float64]:
    """Edges of thirty bins over all values but a share of `outside` at each end."""
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
