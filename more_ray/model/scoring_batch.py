"""Requests as one batch in which no prompt is computed twice, and none that is kept.

Legend: A answers, H hidden size.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from torch import Tensor

from more_ray.data.packing import pack_answers, packed_tokens
from more_ray.model.prompt_cache import Beginning, Continuing, Keeping, PromptCache

SHORT_PROMPT = 16
"""Prompts of fewer tokens are computed each time: that takes no longer than to look them up."""
Features = tuple[Tensor, Tensor | None]
"""Rewards `[A]` of answers and their last hidden states `[A, H]`, in fp32 on the CPU; None
instead of these where the classifier's head is not a plain one."""


class Answers(list[list[int]]):
    """Token ids of a prompt with each of its answers.

    Args:
        prompt: how many tokens are known to be the prompt's. Every row begins with them and has
            more.
    """

    def __init__(self, rows: Iterable[list[int]], prompt: int = 0) -> None:
        super().__init__(rows)
        self.prompt = prompt

    def parts(self, size: int) -> list[Answers]:
        """The same answers, at most `size` together."""
        return [
            Answers(self[first : first + size], self.prompt) for first in range(0, len(self), size)
        ]

    def prompt_tokens(self) -> tuple[int, ...]:
        """The prompt's tokens; none where it is too short to matter."""
        return tuple(self[0][: self.prompt]) if self.prompt >= SHORT_PROMPT else ()


class Work(NamedTuple):
    """What a batch took, in tokens."""

    computed: int
    prompts_computed: int
    """Tokens of known prompts among those computed."""
    prompts_reused: int
    """Tokens of prompts that an earlier batch or another request of this one had computed."""


class ScoringBatch:
    """Requests by their prompts, packed."""

    def __init__(self, requests: Sequence[Answers], cache: PromptCache) -> None:
        alike: dict[Hashable, list[int]] = {}
        for index, answers in enumerate(requests):
            alike.setdefault(answers.prompt_tokens() or index, []).append(index)
        self.beginnings: list[Beginning] = []
        self._new: dict[Hashable, Keeping] = {}
        self._order = list(chain.from_iterable(alike.values()))
        self._sizes = [len(requests[index]) for index in self._order]
        segments: list[list[list[int]]] = []
        known = computed = 0
        for prompt, members in alike.items():
            tokens = len(requests[members[0]].prompt_tokens())
            known += tokens * len(members)
            kept = cache.get(prompt)
            begin = tokens if kept else 0
            together = _together([[row[begin:] for row in requests[one]] for one in members])
            segments += together
            if kept:
                self.beginnings += [Continuing(kept) for _ in together]
                continue
            computed += tokens * len(together)
            self.beginnings += [None] * len(together)
            if tokens and cache.limit:
                self._new[prompt] = Keeping(tokens)
                self.beginnings[-len(together)] = self._new[prompt]
        self.packed = pack_answers(segments)
        self.work = Work(len(self.packed.input_ids_T), computed, known - computed)

    def keep(self, cache: PromptCache) -> None:
        """Put the prompts into the cache that a forward pass has just computed."""
        for tokens, segment in self._new.items():
            cache.put(tokens, segment.prompt)

    def by_request(self, reward_A: Tensor, z_AH: Tensor | None) -> list[Features]:
        """The features of each request's answers, from those of all in the batch."""
        reward_s = reward_A.split(self._sizes)
        z_s = [None] * len(self._sizes) if z_AH is None else z_AH.split(self._sizes)
        found = dict(zip(self._order, zip(reward_s, z_s, strict=True), strict=True))
        return [found[index] for index in range(len(found))]


def _together(requests: list[list[list[int]]]) -> list[list[list[int]]]:
    """One list of all answers to a prompt, unless that makes more tokens: some requests' answers
    may share more than the prompt."""
    answers = list(chain.from_iterable(requests))
    if len(requests) > 1 and packed_tokens(answers) > sum(map(packed_tokens, requests)):
        return requests
    return [answers]
