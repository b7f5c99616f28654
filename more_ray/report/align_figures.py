"""The figures about aligned policies, from the content of `align.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from more_ray.align.measures import BASE
from more_ray.report.drawing import INK, Figure, Rows, colour, legend, marker, panels, svg

BARS = ". Bars are 95% intervals."

Result = Mapping[str, Any]
"""The content of `align.json`."""


def make_figures(result: Result) -> Iterator[Figure]:
    """All figures that the result has data for."""
    against_base = [
        one for one in result["judgements"] if one["other"] == BASE and one["win_rate"] is not None
    ]
    if against_base:
        yield ece_and_win_rate(result["reward_models"], against_base)
    yield reward_and_divergence(result)


def ece_and_win_rate(rewards: Mapping[str, Any], judgements: Sequence[Result]) -> Figure:
    """ECE of a reward model and how its policy fares against the base (the paper's Figure 7)."""
    rows: Rows = []
    criteria = list(dict.fromkeys(one["criterion"] for one in judgements))
    with panels(3.4) as (canvas, (axes,)):
        for place, criterion in enumerate(criteria):
            for one in judgements:
                if one["criterion"] == criterion:
                    reward, rate = rewards[one["policy"]], one["win_rate"]
                    axes.hlines(rate, *reward["ece_ci"], color=colour(place), linewidth=1.2)
                    middle = (reward["ece"], rate)
                    _point(axes, place, criterion, middle, one["win_rate_ci"], one["policy"])
                    rows.append(
                        {
                            "reward model": one["policy"],
                            "ECE": reward["ece"],
                            "more": criterion,
                            "win rate": one["win_rate"],
                            "from": one["win_rate_ci"][0],
                            "to": one["win_rate_ci"][1],
                        }
                    )
        axes.axhline(0.5, color=INK, linestyle="--", linewidth=1)
        axes.set_xlabel("ECE of the reward model, mean over its sources")
        axes.set_ylabel("win rate against the base")
        legend(canvas, axes)
    text = "ECE of each reward model against the win rate of the policy made with it: " + "; ".join(
        f"{row['reward model']}, {row['more']}: "
        f"ECE {row['ECE']:.3f}, win rate {row['win rate']:.2f}"
        for row in rows
    )
    return Figure("ECE and win rate", svg(canvas, text), text + BARS, rows)


def reward_and_divergence(result: Result) -> Figure:
    """What each policy gained by each reward model, against how far it went from the base."""
    rows: Rows = []
    with panels(3.0) as (canvas, (axes,)):
        for place, by in enumerate(result["reward_models"]):
            for name, one in result["policies"].items():
                gain = one["gain"][by]
                if name == BASE or gain["ci"] is None:
                    continue
                x, y = one["kl"]["mean"], gain["mean"]
                _point(axes, place, by, (x, y), gain["ci"], name)
                rows.append({"policy": name, "by": by, "KL, nats": x, "gain": y})
        axes.axhline(0, color=INK, linestyle="--", linewidth=1)
        axes.set_xlabel("KL to the base, nats an answer")
        axes.set_ylabel("reward gained, by reward model")
        legend(canvas, axes)
    text = "Reward gained over the base, and KL to it: " + "; ".join(
        f"{row['policy']} by {row['by']} {row['gain']:+.3f} at {row['KL, nats']:.2f} nats"
        for row in rows
    )
    return Figure("Reward and divergence", svg(canvas, text), text + BARS, rows)


def _point(
    axes: Axes, place: int, label: str, at: tuple[float, float], y_ci: Sequence[float], name: str
) -> None:
    """A named point with the interval of its height; the legend has each label once."""
    seen = label in axes.get_legend_handles_labels()[1]
    axes.vlines(at[0], *y_ci, color=colour(place), linewidth=1.2)
    axes.plot(*at, marker(place), color=colour(place), label="_" if seen else label)
    axes.annotate(name, at, (4, 4), textcoords="offset points")
