"""The distributions of rewards and of their differences. Legend: N pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from more_ray.report.drawing import LINE, Figure, Rows, legend, outline, panels, svg
from more_ray.report.models import Model


def reward_differences(models: Sequence[Model]) -> Figure:
    """Reward of the chosen minus the rejected answer, by source (the paper's Figures 1 and 5)."""
    names = list(models[0].first.scores)
    all_deltas = np.concatenate(
        [model.first.scores[name].delta_N for model in models for name in names]
    )
    edges = _edges(all_deltas, 0.005)
    rows: Rows = []
    with _panel_of_each(names, "reward of chosen minus rejected") as (canvas, drawn):
        for panel, name in zip(drawn, names, strict=True):
            panel.axvline(0, color=LINE, linewidth=1)
            for index, model in enumerate(models):
                delta_N = model.first.scores[name].delta_N
                outline(panel, delta_N, edges, index, model.name)
                rows.append({"model": model.name, "source": name, **_spread(delta_N)})
        legend(canvas, drawn[0])
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
    reward_pairs = [
        (scores.chosen_N.astype(float), scores.rejected_N.astype(float))
        for scores in model.first.scores.values()
    ]
    edges = _edges(np.concatenate([*map(np.concatenate, reward_pairs)]), 0.0)
    rows: Rows = []
    with _panel_of_each(names, "reward") as (canvas, drawn):
        for panel, name, pair in zip(drawn, names, reward_pairs, strict=True):
            for index, (answer, reward_N) in enumerate(
                zip(("chosen", "rejected"), pair, strict=True)
            ):
                outline(panel, reward_N, edges, index, answer)
                rows.append({"source": name, "answer": answer, **_spread(reward_N)})
        legend(canvas, drawn[0])
    text = (
        f"Distribution of the rewards that {model.name} gives to chosen and to rejected answers. "
        "Their overlap is large wherever accuracy is near one half."
    )
    return Figure(f"Rewards by {model.name}", svg(canvas, text), text, rows)


@contextmanager
def _panel_of_each(names: Sequence[str], label: str) -> Iterator[tuple[Canvas, Sequence[Axes]]]:
    """A panel per source for its distributions, with a common x axis."""
    with panels(0.6 + 1.0 * len(names), len(names), sharex=True) as (canvas, drawn):
        for panel, name in zip(drawn, names, strict=True):
            panel.set_title(name)
            panel.set_yticks([])
        drawn[-1].set_xlabel(label)
        yield canvas, drawn


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
