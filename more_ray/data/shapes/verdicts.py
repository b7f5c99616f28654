"""Which of several answers people preferred, from scores, ranks, votes or a label.

Legend: K answers to one prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from more_ray.data.rejects import InvalidRecord, Reason, items, name_of, number

TIES = ("tie", "both", "neither", "draw", "same", "equal")
"""How labels that mean a tie begin."""

Sides = dict[str, Any]
"""`chosen` and `rejected` of a pair, with `margin` and `share` where they are known."""


def compare(
    answers_K: Sequence[Any], kind: str, verdict: Any, names_K: Sequence[str]
) -> list[Sides]:
    """Every pair of answers that the verdict tells apart, and every tie as a share of one half.

    Args:
        kind: what `verdict` is: `scores` (the higher, the better; differences are margins),
            `ranks` (1 is the best), `votes` (counts, or the share of the first of two),
            `strength` (above 0: the second of two is better, by so much), `order` (the best comes
            first), `label` (which is best) or `first` (1: the first of two is best; 0: the other).
            An answer that is None, or whose score, rank or votes are, is left out, and so are two
            answers of several without a vote for either.
        names_K: what the answers are called, for labels.

    Raises:
        InvalidRecord: the verdict is not of its kind, or not for as many answers.
    """
    if kind in ("label", "first"):
        best = _first(verdict) if kind == "first" else winner(verdict, names_K)
        there = [place for place, answer in enumerate(answers_K) if answer is not None]
        if len(there) < 2 or best not in (None, *there):
            raise InvalidRecord(Reason.WRONG_TYPE, f"{kind}: an answer that it needs is missing")
        if best is None:
            return [_tie(answers_K[one], answers_K[other]) for one, other in combinations(there, 2)]
        losers = (answers_K[place] for place in there if place != best)
        return [{"chosen": answers_K[best], "rejected": loser} for loser in losers]
    values_K = _values(kind, verdict, len(answers_K))
    known = [pair for pair in zip(values_K, answers_K, strict=True) if None not in pair]
    if len(known) < 2:
        raise InvalidRecord(Reason.WRONG_TYPE, f"{kind} are needed for two answers or more")
    every = list(combinations(known, 2))
    told = [two for two in every if kind != "votes" or two[0][0] or two[1][0]]
    return [_sides(kind, *two) for two in told or every]


def winner(label: Any, names_K: Sequence[str]) -> int | None:
    """The place of the answer that a label names; None for a tie.

    A label is an answer's name (`response_1`), a word for a tie, what one name ends with (`1`;
    `model_a` and `a` alike), its letter, or its place from 0 where names do not end in numbers;
    the first of these that it can be.

    Raises:
        InvalidRecord: it names no answer.
    """
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    word = name_of(label, "label").strip().lower()
    lower_K = [name.lower() for name in names_K]
    if word in lower_K:
        return lower_K.index(word)
    if word.startswith(TIES):
        return None
    ends_K = [_end(name) for name in lower_K]
    letters_K = [chr(ord("a") + place) for place in range(len(names_K))]
    places = [] if any(map(str.isdecimal, ends_K)) else [str(n) for n in range(len(names_K))]
    for said, what in ((_end(word), ends_K), (_end(word), letters_K), (word, places)):
        if what.count(said) == 1:
            return what.index(said)
    raise InvalidRecord(
        Reason.WRONG_TYPE, f"label {label!r}; allowed: {', '.join([*names_K, *places])}, tie"
    )


def share_of(votes: Sequence[float]) -> float:
    """The share of the first of two numbers of votes; raises `InvalidRecord`."""
    if min(votes) < 0 or not sum(votes):
        raise InvalidRecord(Reason.WRONG_TYPE, "votes must be 0 or more, and some above 0")
    return votes[0] / sum(votes)


def votes_of_two(value: Any) -> list[Any]:
    """Votes for two answers, from a list or from the share of the first; raises `InvalidRecord`."""
    if isinstance(value, list):
        return value
    share = number(value, "votes")
    if not 0 <= share <= 1:
        raise InvalidRecord(Reason.WRONG_TYPE, "a share of votes must lie in [0, 1]")
    return [share, 1 - share]


def _end(name: str) -> str:
    """`b` of `model_b`, `2` of `response2`."""
    tail = name.rpartition("_")[2]
    return tail.lstrip("abcdefghijklmnopqrstuvwxyz") or tail


def _first(value: Any) -> int:
    if (given := number(value, "labels")) not in (0, 1):
        raise InvalidRecord(Reason.WRONG_TYPE, f"labels must be 0 or 1, got {given:g}")
    return 1 - int(given)


def _values(kind: str, verdict: Any, answers: int) -> list[float | None]:
    """`[K]`: the higher, the better."""
    if kind == "order":
        return [float(-place) for place in range(answers)]
    if kind == "strength":
        verdict = [0, number(verdict, "preference_strength")]
    elif kind == "votes":
        verdict = votes_of_two(verdict)
    values = items(verdict, kind)
    if len(values) != answers:
        raise InvalidRecord(
            Reason.WRONG_TYPE, f"{len(values)} {kind} for {answers} answers; allowed: one for each"
        )
    sign = -1 if kind == "ranks" else 1
    return [
        None if value is None else sign * number(value, kind.removesuffix("s")) for value in values
    ]


def _sides(kind: str, one: tuple[Any, Any], other: tuple[Any, Any]) -> Sides:
    margins = kind in ("scores", "strength")
    (better, chosen), (worse, rejected) = (one, other) if one[0] >= other[0] else (other, one)
    sides: Sides = {"chosen": chosen, "rejected": rejected}
    if better == worse:
        sides = _tie(chosen, rejected)
    if kind == "votes":
        sides["share"] = share_of([better, worse])
    return sides | ({"margin": better - worse} if margins else {})


def _tie(one: Any, other: Any) -> Sides:
    return {"chosen": one, "rejected": other, "share": 0.5}
