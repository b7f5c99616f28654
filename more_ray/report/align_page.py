"""The page about aligned policies (the paper's Table 1 and Figure 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from more_ray.align.measures import BASE
from more_ray.judge.summary import DECIDED
from more_ray.metrics.written import signed, with_interval
from more_ray.report.align_figures import Result, make_figures
from more_ray.report.drawing import Rows
from more_ray.report.templates import render


def render_page(result: Result, settings: str) -> str:
    """The page as HTML."""
    names = [name for name in result["policies"] if name != BASE]
    return render(
        "align.html.j2",
        title=f"Policies aligned with {' and '.join(names)}",
        verdict=verdict(result),
        judged=judged_rows(result),
        measures=measure_rows(result),
        perplexities=_perplexity_rows(result),
        rewards=_reward_rows(result),
        figures=list(make_figures(result)),
        environment=result["environment"],
        settings=settings,
    )


def verdict(result: Result) -> str:
    """What can be said, and no more than that."""
    sentences = [
        f"The policy aligned with {name} gained {_gain(one['gain'][name])} by that reward model."
        for name, one in result["policies"].items()
        if name != BASE
    ]
    for one in result["judgements"]:
        ours, theirs, criterion = one["policy"], one["other"], one["criterion"]
        if one["win_rate"] is None:
            sentences.append(f"No verdict on {ours} and {theirs}, {criterion}, could be read.")
            continue
        low, high = one["win_rate_ci"]
        rate = f"win rate {one['win_rate']:.2f}, {low:.2f} to {high:.2f}"
        told = f"does not tell {ours} from {theirs}"
        if low > 0.5 or high < 0.5:
            better, worse = (ours, theirs) if low > 0.5 else (theirs, ours)
            told = f"prefers {better} to {worse}"
        sentences.append(f"For being {criterion} the judge {told} ({rate}).")
    return " ".join(sentences)


def judged_rows(result: Result) -> Rows:
    """The paper's Table 1: shares of the pairs that are decided, with 95% intervals."""
    return [
        {
            "policy": one["policy"],
            "against": one["other"],
            "more": one["criterion"],
            "win + tie/2": win_rate(one),
            **{name: _share(one["shares"], name) for name in DECIDED},
            "decided": sum(one[name] for name in DECIDED),
            "unparsable": one["unparsable"],
            "said A": one["said_a"],
        }
        for one in result["judgements"]
    ]


def measure_rows(result: Result) -> Rows:
    """A row per policy."""
    return [
        {
            "policy": name,
            **{f"reward by {by}": _mean(reward) for by, reward in one["reward"].items()},
            **{
                f"gain by {by}": "" if name == BASE else _gain(gain)
                for by, gain in one["gain"].items()
            },
            "KL, nats": _mean(one["kl"]),
            "tokens": _mean(one["tokens"], digits=0),
            "cut off": f"{one['unfinished']:.0%}",
            "distinct-2": _mean(one["distinct_bigrams"]),
        }
        for name, one in result["policies"].items()
    ]


def _perplexity_rows(result: Result) -> Rows:
    return [
        {
            "source": source,
            "policy": name,
            "perplexity": with_interval(one["perplexity"], one["perplexity_ci"], ".2f"),
            "of an answer": f"{one['answer_perplexity']:.2f}",
            "median": f"{one['median_perplexity']:.2f}",
            "outliers": one["outliers"],
            "answers": one["n"],
        }
        for source in result["policies"][BASE]["perplexity"]
        for name, policy in result["policies"].items()
        for one in [policy["perplexity"][source]]
    ]


def _reward_rows(result: Result) -> Rows:
    return [
        {
            "reward model": name,
            "pairs": one["n"],
            "accuracy": with_interval(one["accuracy"], one["accuracy_ci"]),
            "ECE": with_interval(one["ece"], one["ece_ci"]),
            "floor": one["ece_noise_floor"],
        }
        for name, one in result["reward_models"].items()
    ]


def win_rate(judgement: Mapping[str, Any]) -> str:
    """With its interval; `-` where no pair is decided."""
    return with_interval(judgement["win_rate"], judgement["win_rate_ci"], ".2f")


def _share(shares: Mapping[str, Any] | None, name: str) -> str:
    return with_interval(shares[name]["share"], shares[name]["ci"], ".2f") if shares else "-"


def _mean(one: Mapping[str, Any] | None, digits: int = 3) -> str:
    return with_interval(one["mean"], one["ci"], f".{digits}f", " to ") if one else "-"


def _gain(one: Mapping[str, Any]) -> str:
    return signed(one["mean"], one["ci"])
