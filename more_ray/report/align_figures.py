"""The figures about aligned policies, from the content of `align.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from more_ray.align.gold import EVERYBODY, GOLD
from more_ray.align.measures import BASE
from more_ray.report.choice_figures import Gains, best_of_n
from more_ray.report.drawing import (
    INK,
    Figure,
    Rows,
    colour,
    legend,
    marker,
    no_closer,
    panels,
    svg,
)

BARS = ". Bars are 95% intervals."

Result = Mapping[str, Any]
"""The content of `align.json`."""


def make_figures(result: Result) -> Iterator[Figure]:
    """All figures that the result has data for."""
    against_base = [
        judgement
        for judgement in result["judgements"]
        if judgement["other"] == BASE and judgement["win_rate"] is not None
    ]
    if against_base:
        rewards = {
            name: result["reward_models"][policy["reward_model"]]
            for name, policy in result["policies"].items()
            if name != BASE
        }
        yield ece_and_win_rate(rewards, against_base)
    yield reward_and_divergence(result)
    for name, curves in result["best_of"].items():
        heads = {f"{GOLD}, {name}": gain_N for name, gain_N in curves["gold"].items()}
        gains = {**curves["reward_models"], **_of_sources(curves["sources"]), **heads}
        yield best_of_n(f"Best of n as for {name}", curves["n"], gains)


def ece_and_win_rate(rewards: Mapping[str, Any], judgements: Sequence[Result]) -> Figure:
    """ECE of each reward model against the win rate of its policy (the paper's Figure 7).

    Args:
        rewards: by policy, the measures of its reward model.
    """
    rows: Rows = []
    criteria = list(dict.fromkeys(judgement["criterion"] for judgement in judgements))
    with panels(3.4) as (canvas, (axes,)):
        for index, criterion in enumerate(criteria):
            for judgement in judgements:
                if judgement["criterion"] == criterion:
                    reward, rate = rewards[judgement["policy"]], judgement["win_rate"]
                    axes.hlines(rate, *reward["ece_ci"], color=colour(index), linewidth=1.2)
                    middle = (reward["ece"], rate)
                    _point(axes, index, criterion, middle, judgement["win_rate_ci"])
                    axes.annotate(judgement["policy"], middle, (4, 4), textcoords="offset points")
                    rows.append(
                        {
                            "policy": judgement["policy"],
                            "ECE": reward["ece"],
                            "more": criterion,
                            "win rate": judgement["win_rate"],
                            "from": judgement["win_rate_ci"][0],
                            "to": judgement["win_rate_ci"][1],
                        }
                    )
        axes.axhline(0.5, color=INK, linestyle="--", linewidth=1)
        axes.set_xlabel("ECE of the reward model, mean over its sources")
        axes.set_ylabel("win rate against the base")
        legend(canvas, axes)
    text = "ECE of each reward model against the win rate of the policy made with it: " + "; ".join(
        f"{row['policy']}, {row['more']}: ECE {row['ECE']:.3f}, win rate {row['win rate']:.2f}"
        for row in rows
    )
    return Figure("ECE and win rate", svg(canvas, text), text + BARS, rows)


def reward_and_divergence(result: Result) -> Figure:
    """The gain of each policy by each reward model, against its divergence from the base."""
    policies = {
        name: policy
        for name, policy in sorted(result["policies"].items(), key=_divergence)
        if name != BASE and all(gain["ci"] for gain in policy["gain"].values())
    }
    rows: Rows = []
    with panels(3.0) as (canvas, (axes,)):
        for place, (name, policy) in enumerate(policies.items()):
            x = policy["kl"]["mean"]
            for index, (by, gain) in enumerate(policy["gain"].items()):
                _point(axes, index, by, (x, gain["mean"]), gain["ci"])
                rows.append({"policy": name, "by": by, "KL, nats": x, "gain": gain["mean"]})
            above = (0, 3 + 10 * (place % 2))  # neighbours in two rows
            axes.annotate(
                name, (x, 1), above, ("data", "axes fraction"), "offset points", ha="center"
            )
        axes.axhline(0, color=INK, linestyle="--", linewidth=1)
        no_closer(axes, "x", 0.1)
        axes.set_xlabel("KL to the base, nats per answer")
        axes.set_ylabel("reward gained, by reward model")
        legend(canvas, axes)
    told = [
        f"{name} at {policy['kl']['mean']:.2f} nats: "
        + ", ".join(f"{gain['mean']:+.3f} by {by}" for by, gain in policy["gain"].items())
        for name, policy in policies.items()
    ]
    text = f"Reward gained over the base, and KL to it, of each policy. {'; '.join(told)}"
    return Figure("Reward and divergence", svg(canvas, text), text + BARS, rows)


def by_gold(curves: Mapping[str, Any]) -> Gains:
    """The gains by each head of the gold reward model; none where there is no such model."""
    if GOLD not in curves["reward_models"]:
        return {}
    return {EVERYBODY: curves["reward_models"][GOLD], **curves["gold"]}


def _of_sources(gains: Gains) -> Gains:
    return {f"source {name}": gain_N for name, gain_N in gains.items()}


def _divergence(named: tuple[str, Mapping[str, Any]]) -> float:
    kl = named[1]["kl"]
    return kl["mean"] if kl else 0.0


def _point(
    axes: Axes, index: int, label: str, point: tuple[float, float], y_ci: Sequence[float]
) -> None:
    """Draw a point with the interval of its y value; the legend has each label once."""
    seen = label in axes.get_legend_handles_labels()[1]
    axes.vlines(point[0], *y_ci, color=colour(index), linewidth=1.2)
    axes.plot(*point, marker(index), color=colour(index), label="_" if seen else label)
