"""The page and the tables about aligned policies (the paper's Table 1 and Figure 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from more_ray.align.measures import BASE
from more_ray.judge.summary import DECIDED
from more_ray.report.align_figures import Result, make_figures
from more_ray.report.drawing import Rows
from more_ray.report.templates import render

WIN_RATE = "win + tie/2"
STYLE = {"box": SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1, 0, 0)}


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
        f"The policy aligned with {name} gained {_signed(one['gain'][name])} by that reward model."
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
            WIN_RATE: _share(
                one["win_rate"] and {"share": one["win_rate"], "ci": one["win_rate_ci"]}
            ),
            **{name: _share((one["shares"] or {}).get(name)) for name in DECIDED},
            "decided": sum(one[name] for name in DECIDED),
            "unparsable": one["unparsable"],
            "said A": one["said_a"],
        }
        for one in result["judgements"]
    ]


def measure_rows(result: Result) -> Rows:
    """A row a policy."""
    return [
        {
            "policy": name,
            **{f"reward by {by}": _mean(reward) for by, reward in one["reward"].items()},
            **{
                f"gain by {by}": "" if name == BASE else _signed(gain)
                for by, gain in one["gain"].items()
            },
            "KL, nats": _mean(one["kl"]),
            "tokens": _mean(one["tokens"], digits=0),
            "cut off": f"{one['unfinished']:.0%}",
            "distinct-2": _mean(one["distinct_bigrams"]),
        }
        for name, one in result["policies"].items()
    ]


def tables(result: Result) -> Iterator[Table]:
    """What the terminal shows: counts of the judge, and a column a policy."""
    if result["judgements"]:
        table = Table("policy", "against", "more", **STYLE)
        for column in (*DECIDED, "unread", "win rate"):
            table.add_column(column, justify="right")
        for one, shown in zip(result["judgements"], judged_rows(result), strict=True):
            counts = (str(one[name]) for name in (*DECIDED, "unparsable"))
            table.add_row(one["policy"], one["other"], one["criterion"], *counts, shown[WIN_RATE])
        yield table
    rows = measure_rows(result)
    table = Table("", *(row["policy"] for row in rows), **STYLE)
    for measure in list(rows[0])[1:]:
        table.add_row(measure, *(row[measure] for row in rows))
    yield table


def _perplexity_rows(result: Result) -> Rows:
    return [
        {
            "source": source,
            "policy": name,
            "perplexity": "{:.2f} ({:.2f}-{:.2f})".format(one["perplexity"], *one["perplexity_ci"]),
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
            "accuracy": "{:.3f} ({:.3f}-{:.3f})".format(one["accuracy"], *one["accuracy_ci"]),
            "ECE": "{:.3f} ({:.3f}-{:.3f})".format(one["ece"], *one["ece_ci"]),
            "floor": one["ece_noise_floor"],
        }
        for name, one in result["reward_models"].items()
    ]


def _mean(one: Mapping[str, Any] | None, digits: int = 3) -> str:
    return _with_interval(one, f".{digits}f")


def _signed(one: Mapping[str, Any]) -> str:
    return _with_interval(one, "+.3f")


def _with_interval(one: Mapping[str, Any] | None, style: str) -> str:
    if one is None or one["mean"] is None:
        return "-"
    mean = format(one["mean"], style)
    if one["ci"] is None:
        return mean
    low, high = (format(end, style) for end in one["ci"])
    return f"{mean} ({low} to {high})"


def _share(one: Mapping[str, Any] | None) -> str:
    return "{:.2f} ({:.2f}-{:.2f})".format(one["share"], *one["ci"]) if one else "-"
