"""Pairs to one packed batch: no padding, what both answers share once.

A pair lies in the batch as `[shared | chosen | rejected]`: the tokens that both sequences begin
with, then the rest of each. Legend: N pairs, T tokens of all pairs, L tokens of a padded row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from more_ray.data.formatting import shared_prefix

Lengths = tuple[int, int, int]
"""Tokens of a pair that are shared, only chosen, only rejected."""


@dataclass(frozen=True)
class PackedBatch:
    """N pairs as one row of T tokens."""

    input_ids_T: Tensor
    position_ids_T: Tensor
    lengths: tuple[Lengths, ...]
    source_N: Tensor
    margin_N: Tensor

    @classmethod
    def from_arrays(
        cls,
        input_ids: np.ndarray,
        lengths: np.ndarray,
        source: np.ndarray,
        margin: np.ndarray,
    ) -> PackedBatch:
        """From flat arrays: `input_ids [T]`, `lengths [N, 3]`, `source [N]`, `margin [N]`."""
        triples = tuple(tuple(int(length) for length in row) for row in lengths)
        positions = [
            np.concatenate([np.arange(shared + chosen), np.arange(shared, shared + rejected)])
            for shared, chosen, rejected in triples
        ]
        return cls(
            torch.from_numpy(np.asarray(input_ids, dtype=np.int64)),
            torch.from_numpy(np.concatenate(positions)),
            triples,
            torch.from_numpy(np.asarray(source, dtype=np.int64)),
            torch.from_numpy(np.asarray(margin, dtype=np.float32)),
        )

    def to(self, device: torch.device | str) -> PackedBatch:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return PackedBatch(
            move(self.input_ids_T),
            move(self.position_ids_T),
            self.lengths,
            move(self.source_N),
            move(self.margin_N),
        )

    @property
    def last_N2(self) -> Tensor:
        """`[N, 2]` positions in T of the last chosen and the last rejected token."""
        length_N3 = torch.tensor(self.lengths, dtype=torch.int64)
        end_N = length_N3.sum(dim=1).cumsum(dim=0)
        last_N2 = torch.stack([end_N - length_N3[:, 2], end_N], dim=1) - 1
        return last_N2.to(self.input_ids_T.device)

    @property
    def tokens_N(self) -> Tensor:
        """`[N]` tokens of each pair, in fp32."""
        tokens = [float(sum(lengths)) for lengths in self.lengths]
        return torch.tensor(tokens, device=self.input_ids_T.device)

    def padded(self) -> tuple[Tensor, Tensor]:
        """The same pairs as two full rows each, padded on the right.

        Returns:
            `input_ids [2N, L]` and `attention_mask [2N, L]`, chosen rows first, then rejected.
        """
        chosen, rejected = [], []
        for pair, (shared, own, _) in zip(
            self.input_ids_T.split([sum(lengths) for lengths in self.lengths]),
            self.lengths,
            strict=True,
        ):
            chosen.append(pair[: shared + own])
            rejected.append(torch.cat([pair[:shared], pair[shared + own :]]))
        rows = chosen + rejected
        input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        length = torch.tensor([len(row) for row in rows], device=input_ids.device)
        mask = torch.arange(input_ids.shape[1], device=input_ids.device) < length[:, None]
        return input_ids, mask.long()


def pack(
    chosen: Sequence[Sequence[int]],
    rejected: Sequence[Sequence[int]],
    source: Sequence[int] | None = None,
    margin: Sequence[float] | None = None,
) -> PackedBatch:
    """A batch from token lists of N pairs; every list must hold at least one token."""
    tokens: list[int] = []
    lengths = []
    for one, other in zip(chosen, rejected, strict=True):
        shared = shared_prefix(one, other)
        tokens += [*one, *other[shared:]]
        lengths.append((shared, len(one) - shared, len(other) - shared))
    return PackedBatch.from_arrays(
        np.asarray(tokens),
        np.asarray(lengths),
        np.zeros(len(lengths)) if source is None else np.asarray(source),
        np.zeros(len(lengths)) if margin is None else np.asarray(margin),
    )
