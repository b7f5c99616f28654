"""What every engine takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict

import numpy as np

from more_ray.data.messages import Message

Reproducible = Literal["same samples in any batch", "same samples in the same batches", "no"]
"""What a second sampling with the same settings gives. The blocks of prompts are the same in every
sampling, resumed or not, and an engine gets a block at a time."""


@dataclass(frozen=True)
class Sample:
    """One sampled answer.

    `response` is stripped, without special tokens, and cut before the first stop string. `tokens`
    counts all that were generated. `finished` is False where `max_new_tokens` cut it off.
    `log_likelihood` is the sum over these tokens, in nats, by the model's own distribution, which
    is that of temperature 1 and top_p 1; None where an endpoint does not give it. An endpoint's is
    by what it calls log-probabilities: SGLang's are those of the temperature asked for. It differs
    by rounding between batches, and so does not count where samples are compared.
    """

    response: str
    tokens: int
    finished: bool
    log_likelihood: float | None = field(compare=False)


class Engine(Protocol):
    def sample(
        self, prompts: Sequence[Sequence[Message]], seeds: Sequence[int]
    ) -> list[list[Sample]]:
        """S samples of each prompt, drawn with the prompt's seed.

        Raises:
            UserError: they cannot be sampled, and why.
        """
        ...


class EngineRecord(TypedDict):
    """What is kept with samples of the engine that drew them."""

    engine: str
    version: str | None
    """Of the package; None for an endpoint."""
    model: str
    dtype: str | None
    """None for an endpoint."""
    reproducible: Reproducible


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """An answer before its first stop string, stripped; and whether it has one."""
    found = [text.index(stop) for stop in stops if stop in text]
    return text[: min(found, default=None)].strip(), bool(found)


def request_seed(*parts: int) -> int:
    """A seed of 31 bits, as other programs take them, from the parts of ours."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0] >> 1)
