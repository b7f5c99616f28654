"""Who disagrees with whom, after calibration. Legend: N pairs, K sources."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa

from more_ray.metrics.evaluation import Drifts
from more_ray.report.contested import OWN
from more_ray.report.drawing import Figure, between, cells, colour, heatmap, panels, svg


def opposites(table: pa.Table) -> Figure:
    """On which share of the test pairs the heads of two sources prefer opposite answers.

    Args:
        table: the content of `disagreements.parquet`.
    """
    columns = [name for name in table.column_names if name.startswith(OWN)]
    names = [name.removeprefix(OWN) for name in columns]
    prefers_KN = np.array([table[name].to_numpy() for name in columns]) > 0.5
    share_KK = (prefers_KN[:, None] != prefers_KN).mean(axis=2)
    pairs = list(combinations(range(len(names)), 2))
    far, near = (ends(pairs, key=lambda pair: share_KK[pair]) for ends in (max, min))

    def written(pair: tuple[int, int]) -> str:
        return f"{names[pair[0]]} and {names[pair[1]]} ({share_KK[pair]:.0%})"

    text = (
        "On which share of all test pairs the heads of two sources prefer opposite answers: most "
        f"often those of {written(far)}"
    )
    text += f", least often those of {written(near)}." if len(pairs) > 1 else "."
    return heatmap("Who disagrees with whom", text, between(share_KK), names, names, "source")


def drift_map(drifts: Drifts) -> Figure:
    """How alike the drifts of any two sources are, and beside it how large each one is."""
    names = list(drifts["size"])
    cosine_KK = np.array([[drifts["cosine"][row][column] for column in names] for row in names])
    size_K = np.array([drifts["size"][name] for name in names])
    widths = [len(names), max(1.5, len(names) / 4)]
    with panels(0.9 + 0.35 * len(names), 1, 2, width_ratios=widths) as (canvas, (axes, beside)):
        cells(axes, between(cosine_KK), names, names)
        axes.set_title("likeness")
        beside.barh(range(len(names)), size_K, 0.6, color=colour(0))
        for row, size in enumerate(size_K):
            beside.annotate(
                f"{size:.2f}", (size, row), (3, 0), textcoords="offset points", va="center"
            )
        beside.set_ylim(axes.get_ylim())
        beside.set_xlim(0, 1.5 * size_K.max())
        beside.set_xticks([])
        beside.set_yticks([])
        beside.spines["bottom"].set_visible(False)
        beside.set_title("size")
    one, other = min(combinations(names, 2), key=lambda pair: drifts["cosine"][pair[0]][pair[1]])
    largest = max(names, key=lambda name: drifts["size"][name])
    text = (
        "Left: cosine of what two populations' drifts add to the reward differences of all test "
        "pairs. The shared head has what all share, so unrelated drifts lie about 0 or below, "
        f"down to {-1 / (len(names) - 1):.2f}. The two that agree least: {one} and {other} "
        f"({drifts['cosine'][one][other]:+.2f}). Right: root mean square of what a drift adds, "
        f"as a multiple of the shared head's. Largest: {largest} ({drifts['size'][largest]:.2f})."
    )
    rows = [
        {"source": name, **drifts["cosine"][name], "size": drifts["size"][name]} for name in names
    ]
    return Figure("What the drifts do", svg(canvas, text), text, rows)
