"""Pack answers into a batch without padding; tokens that the answers to a prompt share come once.

A prompt lies in the batch as `[shared | answer 1 | answer 2 | ...]`: the tokens that the sequences
of all its answers begin with, then the rest of each. A pair is a prompt with two answers, chosen
and rejected. Legend: N pairs, A answers, T tokens of all prompts, L tokens of a padded row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from more_ray.data.formatting import shared_prefix
from more_ray.data.layout import Layout, Segment, Tensors


@dataclass(frozen=True)
class PackedAnswers(Tensors):
    """The answers to some prompts as one row of T tokens."""

    input_ids_T: Tensor
    layout: Layout

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The lengths of each prompt and its answers."""
        return self.layout.segments

    @property
    def position_ids_T(self) -> Tensor:
        """Each token's position in its sequence; every answer continues the shared tokens."""
        return self.layout.position_ids_T

    @property
    def last_A(self) -> Tensor:
        """Positions in T of each answer's last token."""
        return self.layout.last_A

    def rows(self, value_T: Tensor) -> list[Tensor]:
        """The part of `value_T` for the tokens of each answer, shared tokens included."""
        return [
            torch.cat([prompt, answer])
            for prompt, *answers in self._parts(value_T)
            for answer in answers
        ]

    def _parts(self, value_T: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Per prompt, the part of `value_T` for its shared tokens, then those for its answers."""
        prompts = value_T.split([sum(segment.parts) for segment in self.segments])
        for prompt, segment in zip(prompts, self.segments, strict=True):
            yield prompt.split(segment.parts)

    def by_length(self, limit: int) -> list[tuple[PackedAnswers, Tensor]]:
        """Answers of at most `limit` tokens and longer ones, each side with its indices in A."""
        sides = []
        for long in (False, True):
            tokens: list[Tensor] = []
            segments: list[Segment] = []
            indices: list[int] = []
            first = 0
            parts = self._parts(self.input_ids_T)
            for (prompt, *answers), (shared, own) in zip(parts, self.segments, strict=True):
                mine = [n for n, length in enumerate(own) if (shared + length > limit) == long]
                if mine:
                    tokens += [prompt, *(answers[n] for n in mine)]
                    segments.append(Segment(shared, tuple(own[n] for n in mine)))
                    indices += [first + n for n in mine]
                first += len(own)
            if indices:
                device = self.input_ids_T.device
                side = PackedAnswers(torch.cat(tokens), Layout.of(segments).to(device))
                sides.append((side, torch.tensor(indices, device=device)))
        return sides

    def map_by_length(
        self, limit: int | None, compute: Callable[[PackedAnswers], Tensor]
    ) -> Tensor:
        """`[A, ...]`: `compute` run on answers of at most `limit` tokens and on longer ones."""
        if limit is None:
            return compute(self)
        sides = self.by_length(limit)
        values = [compute(side) for side, _ in sides]
        index_A = torch.cat([index_A for _, index_A in sides])
        return torch.cat(values)[index_A.argsort()]

    def padded(self) -> tuple[Tensor, Tensor]:
        """The same answers in rows of equal length, padded on the right.

        Returns:
            `input_ids [A, L]` and `attention_mask [A, L]`.
        """
        rows = self.rows(self.input_ids_T)
        input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        length = torch.tensor([len(row) for row in rows], device=input_ids.device)
        mask = torch.arange(input_ids.shape[1], device=input_ids.device) < length[:, None]
        return input_ids, mask.long()


@dataclass(frozen=True)
class PackedBatch(PackedAnswers):
    """N pairs (or chosen answers) as one row of T tokens, and what the loss needs for each."""

    source_N: Tensor
    margin_N: Tensor
    share_N: Tensor | None = None
    """None where all labels are hard."""
    weight_N: Tensor | None = None
    """None where all pairs count the same."""
    pair_N2: Tensor | None = None
    """The chosen and the rejected answer of each pair, by their positions in A. None: two answers
    after the other are a pair."""

    @classmethod
    def from_arrays(
        cls,
        input_ids: np.ndarray,
        lengths: np.ndarray,
        source: np.ndarray,
        margin: np.ndarray,
        share: Sequence[float] | None = None,
        weight: Sequence[float] | None = None,
        answers: Sequence[int] = (),
        pair: Sequence[int] = (),
    ) -> PackedBatch:
        """From flat arrays: `input_ids [T]`, `lengths [N, 3]`, and `[N]` for each of the others.

        An answer without tokens is left out: rejected ones, where only chosen answers are packed.
        Where prompts have any number of answers, `answers [P]` are these numbers, `pair [2 N]` as
        in `pair_N2`, and `lengths [P + A]` those of each prompt and its answers.
        """
        if len(answers):
            parts = np.split(np.asarray(lengths), np.cumsum(np.asarray(answers) + 1)[:-1])
        else:
            parts = np.reshape(lengths, (len(source), -1))
        segments = [
            Segment(shared, tuple(filter(None, own)))
            for shared, *own in map(np.ndarray.tolist, parts)
        ]
        return cls(
            torch.from_numpy(np.asarray(input_ids, dtype=np.int64)),
            Layout.of(segments),
            torch.from_numpy(np.asarray(source, dtype=np.int64)),
            torch.from_numpy(np.asarray(margin, dtype=np.float32)),
            *(None if given is None else torch.tensor(given) for given in (share, weight)),
            torch.tensor(pair).reshape(-1, 2) if len(pair) else None,
        )

    @property
    def tokens_N(self) -> Tensor:
        """Tokens of each pair, in fp32; pairs of a prompt have its tokens in equal parts."""
        if self.pair_N2 is None:
            return self.layout.tokens_P
        tokens_P = self.layout.tokens_P
        answers_P = torch.tensor([len(segment.answers) for segment in self.segments])
        prompt_A = torch.arange(len(answers_P)).repeat_interleave(answers_P).to(tokens_P.device)
        prompt_N = prompt_A[self.pair_N2[:, 0]]
        return (tokens_P / prompt_N.bincount(minlength=len(tokens_P)))[prompt_N]

    def by_pair(self, value_A: Tensor) -> Tensor:
        """`[N, 2, ...]`: the values of the chosen and the rejected answer of each pair."""
        return value_A.unflatten(0, (-1, 2)) if self.pair_N2 is None else value_A[self.pair_N2]


def packed_tokens(answers: Sequence[Sequence[int]]) -> int:
    """How many tokens a prompt's answers have in a batch, where their beginning counts once."""
    return sum(map(len, answers)) - (len(answers) - 1) * shared_prefix(*answers)


def pack_answers(prompts: Sequence[Sequence[Sequence[int]]]) -> PackedAnswers:
    """A batch from the token lists of each prompt's answers, each beginning with the prompt."""
    tokens: list[int] = []
    segments = []
    for answers in prompts:
        shared = shared_prefix(*answers)
        tokens += answers[0][:shared]
        for answer in answers:
            tokens += answer[shared:]
        segments.append(Segment(shared, tuple(len(answer) - shared for answer in answers)))
    return PackedAnswers(torch.tensor(tokens), Layout.of(segments))


def pack(
    chosen: Sequence[Sequence[int]],
    rejected: Sequence[Sequence[int]],
    source: Sequence[int] | None = None,
    margin: Sequence[float] | None = None,
    share: Sequence[float] | None = None,
    weight: Sequence[float] | None = None,
) -> PackedBatch:
    """A batch from token lists of N pairs; every list must hold at least one token."""
    answers = pack_answers(list(zip(chosen, rejected, strict=True)))
    zeros = np.zeros(len(answers.segments))
    return PackedBatch.from_arrays(
        answers.input_ids_T.numpy(),
        np.asarray([segment.parts for segment in answers.segments]),
        zeros if source is None else np.asarray(source),
        zeros if margin is None else np.asarray(margin),
        share,
        weight,
    )
