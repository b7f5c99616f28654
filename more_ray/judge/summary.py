"""Win, tie and lose with intervals (the paper's Table 1)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.stats import binomtest, norm

from more_ray.judge.question import Outcome

DECIDED = ("win", "tie", "lose")


def summarize(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Counts of all outcomes; of those that are decided, shares and the win rate.

    Returns:
        `pairs`, `win`, `tie`, `lose`, `unparsable`: counts; `shares`: of win, tie and lose, each
        `share` and `ci`, Wilson's 95% interval; `win_rate`, a tie being half a win, and
        `win_rate_ci`. Without a decided pair, these three are None.
    """
    count = Counter(outcomes)
    decided = sum(count[name] for name in DECIDED)
    result = {"pairs": count.total(), **{name: count[name] for name in (*DECIDED, "unparsable")}}
    if not decided:
        return {**result, "shares": None, "win_rate": None, "win_rate_ci": None}
    shares = {
        name: {
            "share": count[name] / decided,
            "ci": list(binomtest(count[name], decided).proportion_ci(method="wilson")),
        }
        for name in DECIDED
    }
    win_rate = (count["win"] + count["tie"] / 2) / decided
    interval = win_rate_interval(count["win"], count["tie"], count["lose"])
    return {**result, "shares": shares, "win_rate": win_rate, "win_rate_ci": interval}


def win_rate_interval(win: int, tie: int, lose: int) -> list[float]:
    """A 95% interval for the win rate, which is half of one plus win less lose.

    That is a difference of matched proportions: half a count is added to each of its four cells
    (ties are two of them), so that it holds for few pairs and for none lost (Agresti and Min 2005,
    "Simple improved confidence intervals for comparing matched proportions").
    """
    pairs = win + tie + lose + 2
    difference = (win - lose) / pairs
    error = math.sqrt(((win + lose + 1) / pairs - difference**2) / pairs)
    ends = (difference + sign * norm.ppf(0.975) * error for sign in (-1, 1))
    return [float(min(max((1 + end) / 2, 0), 1)) for end in ends]


def summary_table(result: Mapping[str, Any]) -> Table:
    """What `summarize` found, a row an outcome."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in (f"more {result['criterion']}", "pairs", "share", "95% interval"):
        table.add_column(column, no_wrap=True, justify="left" if column[:4] == "more" else "right")
    shares = result["shares"] or {}
    rows = [(name, f"{result[name]:,}", shares.get(name)) for name in DECIDED]
    if result["win_rate"] is not None:
        rate = {"share": result["win_rate"], "ci": result["win_rate_ci"]}
        rows.append(("win + tie/2", "", rate))
    for name, pairs, share in rows:
        cells = (f"{share['share']:.3f}", "{:.3f}-{:.3f}".format(*share["ci"])) if share else ()
        table.add_row(name, pairs, *cells)
    table.caption = f"{result['unparsable']:,} of {result['pairs']:,} pairs unparsable."
    table.caption_justify = "left"
    return table
