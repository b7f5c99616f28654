"""The page about aligned policies (the paper's Table 1 and Figure 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from more_ray.align.measures import BASE
from more_ray.judge.summary import DECIDED
from more_ray.metrics.intervals import detectable
from more_ray.metrics.shown_names import policy_name, shown_name
from more_ray.metrics.written import signed, with_interval
from more_ray.report.align_figures import Result, by_gold, make_figures
from more_ray.report.align_verdict import verdict
from more_ray.report.drawing import Rows
from more_ray.report.templates import render, turned
from more_ray.report.words import explained, listed


def render_page(result: Result, settings: str) -> str:
    """The page as HTML."""
    result = as_shown(result)
    names = [name for name in result["policies"] if name != BASE]
    return render(
        "align.html.j2",
        title=f"Policies aligned with {listed(names)}",
        verdict=verdict(result),
        words=explained(["reward model", "policy", BASE, *names]),
        judged=judged_rows(result),
        gold=gold_rows(result),
        best=best_rows(result),
        measures=turned(measure_rows(result), "policy"),
        perplexities=_perplexity_rows(result),
        rewards=_reward_rows(result),
        figures=list(make_figures(result)),
        environment=result["environment"],
        settings=settings,
    )


def as_shown(result: Result) -> dict[str, Any]:
    """`align.json` with the names that tables show for reward models, and for the policies made by
    them and by a choice."""
    names = {BASE: BASE}
    for name, policy in result["policies"].items():
        if name != BASE:
            names[name] = policy_name(policy["reward_model"], policy["choice"])

    def by_reward(found: Mapping[str, Any]) -> dict[str, Any]:
        return {shown_name(name): one for name, one in found.items()}

    return {
        **result,
        "reward_models": by_reward(result["reward_models"]),
        "policies": {
            names[name]: {
                **policy,
                **{key: by_reward(policy[key]) for key in ("reward", "gain", "gain_of_sources")},
                "reward_model": shown_name(policy["reward_model"] or ""),
            }
            for name, policy in result["policies"].items()
        },
        "best_of": {
            names[name]: {**curves, "reward_models": by_reward(curves["reward_models"])}
            for name, curves in result["best_of"].items()
        },
        **{
            key: [
                {**one, "policy": names[one["policy"]], "other": names[one["other"]]}
                for one in result[key]
            ]
            for key in ("gold", "judgements")
        },
    }


def judged_rows(result: Result) -> Rows:
    """The paper's Table 1: shares of the decided pairs, with 95% intervals.

    Args:
        result: as `as_shown` gives it; so for all below.
    """
    return [
        {
            "policies": f"{judgement['policy']} against {judgement['other']}",
            "more": judgement["criterion"],
            "win + tie/2": win_rate(judgement),
            **{name: _share(judgement["shares"], name) for name in DECIDED},
            "decided": sum(judgement[name] for name in DECIDED),
            "unread": judgement["unparsable"],
            "said A": judgement["said_a"],
        }
        for judgement in result["judgements"]
    ]


def gold_rows(result: Result) -> Rows:
    """The same by the gold reward model, by each of its heads: shares of all pairs of answers."""
    return [
        {
            "policies": f"{one['policy']} against {one['other']}",
            "by": one["head"],
            "win + tie/2": _mean(one["win_rate"], digits=2),
            **{name: f"{one[name]['mean']:.2f}" for name in DECIDED},
            "would show": f"±{detectable(one['win_rate']['ci']):.2f}",
            "prompts": one["win_rate"]["n"],
        }
        for one in result["gold"]
        if one["win_rate"]["ci"]
    ]


def best_rows(result: Result) -> Rows:
    """What choosing is worth to the gold reward model, by each of its heads: the best of as many
    answers as there are, less their mean."""
    return [
        {
            "chosen by": name,
            "answers": curves["n"][-1],
            **{head: _gain(gain_N[-1]) for head, gain_N in by_gold(curves).items()},
        }
        for name, curves in result["best_of"].items()
        if by_gold(curves)
    ]


def measure_rows(result: Result) -> Rows:
    """The measures, a row per policy."""
    return [
        {
            "policy": name,
            **{f"reward by {by}": _mean(reward) for by, reward in policy["reward"].items()},
            **{
                f"gain by {by}": "" if name == BASE else _gain(gain)
                for by, gain in policy["gain"].items()
            },
            **{
                f"gain by {by}, {source}": "" if name == BASE else _gain(gain)
                for by, of_sources in policy["gain_of_sources"].items()
                for source, gain in of_sources.items()
            },
            "KL, nats": _mean(policy["kl"]),
            "tokens": _mean(policy["tokens"], digits=0),
            "cut off": f"{policy['unfinished']:.0%}",
            "distinct-2": _mean(policy["distinct_bigrams"]),
        }
        for name, policy in result["policies"].items()
    ]


def _perplexity_rows(result: Result) -> Rows:
    def style(value: float) -> str:
        return ".2f" if value < 100 else ",.0f"

    return [
        {
            "source": source,
            "policy": name,
            "perplexity": with_interval(
                measures["perplexity"], measures["perplexity_ci"], style(measures["perplexity"])
            ),
            **{
                title: format(measures[key], style(measures[key]))
                for title, key in (
                    ("of an answer", "answer_perplexity"),
                    ("median", "median_perplexity"),
                )
            },
            "outliers": measures["outliers"],
            "answers": measures["n"],
        }
        for source in result["policies"][BASE]["perplexity"]
        for name, policy in result["policies"].items()
        for measures in [policy["perplexity"][source]]
    ]


def _reward_rows(result: Result) -> Rows:
    return [
        {
            "reward model": name,
            "pairs": evaluation["n"],
            "accuracy": with_interval(evaluation["accuracy"], evaluation["accuracy_ci"]),
            "ECE": with_interval(evaluation["ece"], evaluation["ece_ci"]),
            "floor": evaluation["ece_noise_floor"],
        }
        for name, evaluation in result["reward_models"].items()
    ]


def win_rate(judgement: Mapping[str, Any]) -> str:
    """The win rate with its interval; `-` where no pair is decided."""
    return with_interval(judgement["win_rate"], judgement["win_rate_ci"], ".2f")


def _share(shares: Mapping[str, Any] | None, name: str) -> str:
    return with_interval(shares[name]["share"], shares[name]["ci"], ".2f") if shares else "-"


def _mean(measure: Mapping[str, Any] | None, digits: int = 3) -> str:
    return with_interval(measure["mean"], measure["ci"], f".{digits}f", " to ") if measure else "-"


def _gain(measure: Mapping[str, Any]) -> str:
    return signed(measure["mean"], measure["ci"])
