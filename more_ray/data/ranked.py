"""The pairs of a prompt whose answers were ranked, as a batch has them: every answer once.

K answers make up to K (K - 1) / 2 pairs. Pair by pair, each answer would be computed K - 1 times
and the prompt for every pair. Legend: P prompts, N pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from more_ray.data.formatting import shared_prefix


@dataclass(frozen=True)
class Prompt:
    """A prompt's tokens: those that all answers share, and the rest of each answer."""

    shared: list[int]
    answers: list[list[int]]
    pairs: list[tuple[int, int]]
    """Which answers each pair consists of: the number of the chosen and of the rejected one."""


def prompt_of(pairs: Sequence[Mapping[str, Any]]) -> Prompt:
    """The prompt of pairs of one record, each given by its tokens: shared, chosen, rejected."""
    if len(pairs) == 1:
        (pair,) = pairs
        return Prompt(pair["shared"], [pair["chosen"], pair["rejected"]], [(0, 1)])
    number: dict[tuple[int, ...], int] = {}

    def number_of(pair: Mapping[str, Any], side: str) -> int:
        return number.setdefault((*pair["shared"], *pair[side]), len(number))

    both = [(number_of(pair, "chosen"), number_of(pair, "rejected")) for pair in pairs]
    shared = shared_prefix(*number)
    answers = [list(tokens[shared:]) for tokens in number]
    return Prompt(list(next(iter(number))[:shared]), answers, both)


def flat(prompts: Sequence[Prompt]) -> dict[str, list[int]]:
    """The columns of a batch: tokens, the lengths of their parts, and which answers make a pair.

    `answers [P]` are the numbers of answers and `pair [2 N]` those of the chosen and the rejected
    answer of each pair, counted over the batch. Both are empty where every prompt has one pair.
    """
    parts = [part for prompt in prompts for part in (prompt.shared, *prompt.answers)]
    columns = {
        "input_ids": [token for part in parts for token in part],
        "lengths": [len(part) for part in parts],
        "answers": [],
        "pair": [],
    }
    if any(len(prompt.pairs) > 1 for prompt in prompts):
        first = 0
        for prompt in prompts:
            columns["answers"].append(len(prompt.answers))
            columns["pair"] += [first + number for pair in prompt.pairs for number in pair]
            first += len(prompt.answers)
    return columns
