"""Where the tokens of packed answers lie: made once per batch and moved to the device with it.

Legend: P prompts, A answers, T packed tokens, R tokens that all answers see: what the answers to
a prompt share counts once per answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self


class Segment(NamedTuple):
    """The token counts of a prompt's answers: `shared` by all of them, then each answer's own."""

    shared: int
    answers: tuple[int, ...]

    @property
    def parts(self) -> list[int]:
        """The lengths in the order in which the tokens lie in the batch."""
        return [self.shared, *self.answers]


@dataclass(frozen=True)
class Tensors:
    """A frozen dataclass of tensors that move to a device together."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """A copy with `function` applied to each tensor, nested ones included."""
        mapped = {field.name: _map(getattr(self, field.name), function) for field in fields(self)}
        return replace(self, **mapped)

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def tensors(self) -> list[Tensor]:
        """All tensors, nested ones included."""
        found: list[Tensor] = []
        self.map(lambda tensor: found.append(tensor) or tensor)
        return found


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Tensors):
        return value.map(function)
    if isinstance(value, tuple) and value and isinstance(value[0], Tensors):
        return tuple(item.map(function) for item in value)
    return value


@dataclass(frozen=True)
class Copies(Tensors):
    """The n-th further copy of every shared token that has one."""

    token: Tensor
    """Position in T of the token."""
    position: Tensor
    """Position in R of the copy."""


@dataclass(frozen=True)
class Layout(Tensors):
    """Each answer is its own sequence in attention.

    Queries of the first answer to a prompt are the shared tokens and its own, those of every
    further answer its own; the keys of every answer are the shared tokens and its own.
    """

    segments: tuple[Segment, ...]
    position_ids_T: Tensor
    tokens_P: Tensor
    """Tokens of each prompt with its answers, in fp32."""
    own_A: Tensor
    """Tokens that an answer does not share."""
    last_A: Tensor
    """Position in T of an answer's last token."""
    before_A: Tensor
    """Position in T of the token before an answer's own tokens; -1 where there is none."""
    seen_R: Tensor
    """Position in T of every token that is seen, answer by answer."""
    first_copy_T: Tensor
    """Position in R of a token's first copy."""
    further_copies: tuple[Copies, ...]
    query_ends: Tensor
    """`[A + 1]` int32: where the queries of each answer begin and end in T."""
    key_ends: Tensor
    """`[A + 1]` int32: where the keys of each answer begin and end in R."""
    longest_query: int
    longest_key: int

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Layout:
        """The layout of segments, each with an answer, and every answer with a token of its own."""
        answers_P = np.array([len(segment.answers) for segment in segments])
        shared_P = np.array([segment.shared for segment in segments])
        own_A = np.array([own for segment in segments for own in segment.answers])
        prompt_A = np.repeat(np.arange(len(segments)), answers_P)
        nth_A = np.arange(len(own_A)) - np.repeat(answers_P.cumsum() - answers_P, answers_P)
        shared_A = shared_P[prompt_A]

        query_A = own_A + np.where(nth_A == 0, shared_A, 0)
        query_ends = np.concatenate([[0], query_A.cumsum()])
        begin_A = query_ends[1:] - own_A
        begin_P = query_ends[:-1][nth_A == 0]
        tokens_P = np.bincount(prompt_A, query_A)

        key_A = shared_A + own_A
        key_ends = np.concatenate([[0], key_A.cumsum()])
        position_R = np.arange(key_ends[-1]) - np.repeat(key_ends[:-1], key_A)
        answer_R = np.repeat(np.arange(len(own_A)), key_A)
        is_shared_R = position_R < shared_A[answer_R]
        seen_R = position_R + np.where(
            is_shared_R, begin_P[prompt_A][answer_R], (begin_A - shared_A)[answer_R]
        )
        copy_R = np.where(is_shared_R, nth_A[answer_R], 0)
        first_copy_T = np.flatnonzero(copy_R == 0)
        further = [np.flatnonzero(copy_R == nth) for nth in range(1, copy_R.max() + 1)]

        def tensor(values: np.ndarray, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.from_numpy(values).to(dtype)

        return cls(
            segments=tuple(segments),
            position_ids_T=tensor(position_R[first_copy_T]),
            tokens_P=tensor(tokens_P, torch.float32),
            own_A=tensor(own_A),
            last_A=tensor(query_ends[1:] - 1),
            before_A=tensor(np.where(shared_A == 0, -1, (begin_P + shared_P - 1)[prompt_A])),
            seen_R=tensor(seen_R),
            first_copy_T=tensor(first_copy_T),
            further_copies=tuple(Copies(tensor(seen_R[at]), tensor(at)) for at in further),
            query_ends=tensor(query_ends, torch.int32),
            key_ends=tensor(key_ends, torch.int32),
            longest_query=int(query_A.max()),
            longest_key=int(key_A.max()),
        )
