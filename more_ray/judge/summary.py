"""Shares of win, tie and lose with intervals (the paper's Table 1)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from more_ray.judge.question import Outcome
from more_ray.metrics.intervals import Z_95, wilson

DECIDED = ("win", "tie", "lose")


def summarise(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Counts of all outcomes; shares and the win rate of the decided pairs.

    Returns:
        `pairs`, `win`, `tie`, `lose`, `unparsable`: counts; `shares`: of win, tie and lose, each
        with `share` and `ci`, Wilson's 95% interval; `win_rate`, a tie being half a win, and
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
            "ci": wilson(count[name] / decided, decided),
        }
        for name in DECIDED
    }
    win_rate = (count["win"] + count["tie"] / 2) / decided
    interval = win_rate_interval(count["win"], count["tie"], count["lose"])
    return {**result, "shares": shares, "win_rate": win_rate, "win_rate_ci": interval}


def win_rate_interval(win: int, tie: int, lose: int) -> list[float]:
    """A 95% interval for the win rate, which is (1 + win - lose) / 2 in shares.

    That is a difference of matched proportions: half a count is added to each of its four cells
    (ties are two of them), so that it also covers for few pairs or none lost (Agresti and Min 2005,
    "Simple improved confidence intervals for comparing matched proportions").
    """
    pairs = win + tie + lose + 2
    difference = (win - lose) / pairs
    error = math.sqrt(((win + lose + 1) / pairs - difference**2) / pairs)
    ends = (difference + sign * Z_95 * error for sign in (-1, 1))
    return [min(max((1 + end) / 2, 0.0), 1.0) for end in ends]
