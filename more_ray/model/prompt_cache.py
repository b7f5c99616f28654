"""What attention reads of prompts, kept from one batch to the next.

When a prompt comes again with another answer, only the answer is computed. A prompt is kept whole:
a conversation that grew by a turn is a new prompt.
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_OUTSIDE = 2**16
"""Bytes of a prompt: of smaller ones there would be more pieces than a process may have."""
KeysAndValues = tuple[Tensor, Tensor]
"""`[1, heads, tokens, head_dim]` each, in which heads and head_dim may differ."""


@dataclass(frozen=True)
class KeptPrompt:
    """The keys and values of a prompt's tokens in a forward pass, an entry for each call of the
    attention function, in order. (A block may call it more than once.)"""

    tokens: int
    calls: list[KeysAndValues]

    @property
    def nbytes(self) -> int:
        return sum(key.nbytes + value.nbytes for key, value in self.calls)

    def copied(self) -> KeptPrompt:
        """A copy in one piece of memory, on a CPU outside of the heap.

        Pieces that live long, made between forward passes, would tear the heap into parts that are
        too small for the next pass, which makes it grow for hours.
        """
        tensors = [tensor for call in self.calls for tensor in call]
        sizes = [tensor.numel() for tensor in tensors]
        memory = _outside(tensors[0], sum(sizes)).split(sizes)
        copies = iter(
            [
                piece.view(tensor.shape).copy_(tensor)
                for piece, tensor in zip(memory, tensors, strict=True)
            ]
        )
        return KeptPrompt(self.tokens, list(zip(copies, copies, strict=True)))


def _outside(like: Tensor, size: int) -> Tensor:
    """Memory for so many values, which the system gets back at once when nobody holds it."""
    nbytes = size * like.element_size()
    if like.device.type != "cpu" or nbytes < LEAST_OUTSIDE:
        return like.new_empty(size)
    private = mmap.mmap(-1, nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(private, dtype=like.dtype)


class Keeping:
    """A segment of one forward pass, from which its first tokens, a prompt, can be kept."""

    before = 0

    def __init__(self, tokens: int) -> None:
        self.prompt = KeptPrompt(tokens, [])

    def seen(self, key: Tensor, value: Tensor) -> KeysAndValues:
        prompt = slice(self.prompt.tokens)
        self.prompt.calls.append((key[:, :, prompt], value[:, :, prompt]))
        return key, value


class Continuing:
    """A segment of one forward pass that goes on after a kept prompt."""

    def __init__(self, prompt: KeptPrompt) -> None:
        self.before = prompt.tokens
        self._calls = iter(prompt.calls)

    def seen(self, key: Tensor, value: Tensor) -> KeysAndValues:
        """The prompt's keys and values, then the segment's own."""
        prompt_key, prompt_value = next(self._calls)
        return torch.cat([prompt_key, key], dim=2), torch.cat([prompt_value, value], dim=2)


Beginning = Keeping | Continuing | None
"""What is done about the prompt that a segment begins with."""


class PromptCache:
    """The prompts used last, as many as fit into `limit` bytes; for one thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._prompts: OrderedDict[Hashable, KeptPrompt] = OrderedDict()

    def __len__(self) -> int:
        return len(self._prompts)

    def get(self, key: Hashable) -> KeptPrompt | None:
        if key in self._prompts:
            self._prompts.move_to_end(key)
        return self._prompts.get(key)

    def put(self, key: Hashable, prompt: KeptPrompt) -> None:
        """Keep a copy of a prompt that is not there yet, unless it is larger than the limit."""
        nbytes = prompt.nbytes
        if nbytes > self.limit:
            return
        while self.nbytes + nbytes > self.limit:
            _, oldest = self._prompts.popitem(last=False)
            self.nbytes -= oldest.nbytes
        self._prompts[key] = prompt.copied()
        self.nbytes += nbytes
