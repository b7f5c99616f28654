"""What the best of n samples gains as n grows: by the reward that chooses, and by the others.

A reward that is learnt is wrong somewhere, and the more samples it chooses among, the more it finds
where (Gao et al. 2023, "Scaling Laws for Reward Model Overoptimization").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from more_ray.report.drawing import INK, Figure, colour, legend, marker, panels, svg

Gains = Mapping[str, Sequence[Mapping[str, Any]]]
"""For each reward, its name to show and `mean`, `ci` for each number of samples."""


def best_of_n(title: str, size_N: Sequence[int], gains: Gains) -> Figure:
    """A curve for each reward over the number of samples.

    Args:
        size_N: 1, 2, 4 ... samples.
    """
    with panels(3.2) as (canvas, (axes,)):
        for index, (name, gain_N) in enumerate(gains.items()):
            mean_N = [gain["mean"] for gain in gain_N]
            axes.plot(
                size_N, mean_N, f"{marker(index)}-", color=colour(index), label=name,
                markersize=4, linewidth=1.2,
            )  # fmt: skip
            for size, gain in zip(size_N, gain_N, strict=True):
                if gain["ci"]:
                    axes.vlines(size, *gain["ci"], color=colour(index), linewidth=1)
        axes.axhline(0, color=INK, linestyle="--", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(size_N), list(map(str, size_N)))
        axes.set_xlabel("samples of each prompt, of which the best is taken")
        axes.set_ylabel("reward gained over their mean")
        axes.grid()
        legend(canvas, axes)
    ends = "; ".join(f"{name} {gain_N[-1]['mean']:+.3f}" for name, gain_N in gains.items())
    text = f"Gains of the best of {size_N[-1]} samples by each reward: {ends}"
    for name, gain_N in gains.items():
        at = int(np.argmax([gain["mean"] for gain in gain_N]))
        if at < len(size_N) - 1:
            text += f". By {name} the mean is largest for the best of {size_N[at]}"
    rows = [
        {"samples": size, **{name: gain_N[at]["mean"] for name, gain_N in gains.items()}}
        for at, size in enumerate(size_N)
    ]
    about = f"{text}. Means over prompts; bars are 95% intervals."
    return Figure(title, svg(canvas, text), about, rows)
