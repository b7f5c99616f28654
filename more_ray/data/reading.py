"""The read task of preparation: a shard's pairs, checked and tokenised.

Apart from `prepare`, so that a task's process imports no more than this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import jinja2
import pyarrow as pa

from more_ray.config import DataConfig
from more_ray.data.formatting import encode, render, shared_prefix
from more_ray.data.prepared import PAIR_SCHEMA
from more_ray.data.records import Pair, Reason, Reject
from more_ray.data.simulated import Simulator
from more_ray.data.sources import SourceFiles, has_test, iter_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 256
"""Pairs tokenised together."""

WORK_SCHEMA = pa.schema(
    [
        *[field.with_nullable(True) for field in PAIR_SCHEMA],
        pa.field("source", pa.int32()),
        pa.field("split", pa.string()),
        pa.field("key", pa.uint64()),
        pa.field("reason", pa.string()),
        pa.field("where", pa.string()),
        pa.field("detail", pa.string()),
    ]
)


@dataclass(frozen=True)
class Shard:
    """What one read task reads: a source and split, or a range of a simulated one."""

    source: int
    split: str
    files: SourceFiles | None
    start: int = 0
    stop: int = 0


class ReadShard:
    """The read task: a shard's pairs, checked and tokenised, each with its place in the order."""

    def __init__(
        self,
        names: list[str],
        simulator: Simulator,
        tokenizer: PreTrainedTokenizerBase,
        data: DataConfig,
    ) -> None:
        self.names, self.simulator, self.tokenizer, self.data = names, simulator, tokenizer, data

    def __call__(self, batch: dict[str, Any]) -> Iterator[pa.Table]:
        (shard,) = batch["shard"]
        numbered = enumerate(self._pairs(shard), start=shard.start)
        while some := list(islice(numbered, BATCH)):
            yield self._table(shard, some)

    def _pairs(self, shard: Shard) -> Iterator[Pair | Reject]:
        name = self.names[shard.source]
        if shard.files is None:
            yield from self.simulator.pairs(name, shard.split, shard.start, shard.stop)
        elif has_test(shard.files):
            yield from iter_pairs(shard.files, shard.split)
        else:
            for pair in iter_pairs(shard.files, "train"):
                if isinstance(pair, Reject):
                    if shard.split == "train":
                        yield pair
                elif self._held_out(pair) == (shard.split == "test"):
                    yield pair

    def _held_out(self, pair: Pair) -> bool:
        """The test split of a source that has none: all pairs of a share of the prompts."""
        return _unit(self.data.seed, json.dumps(pair.prompt)) < self.data.test_fraction

    def _table(self, shard: Shard, numbered: list[tuple[int, Pair | Reject]]) -> pa.Table:
        source, split = shard.source, shard.split
        rows: list[dict[str, Any]] = []
        rendered: list[tuple[int, Pair, str, str]] = []
        for number, pair in numbered:
            if isinstance(pair, Pair):
                try:
                    chosen, rejected = (
                        render(self.tokenizer, pair.prompt, answer)
                        for answer in (pair.chosen, pair.rejected)
                    )
                except jinja2.TemplateError as error:
                    pair = Reject(Reason.TEMPLATE, f"{pair.source} pair {number}", str(error))
                else:
                    rendered.append((number, pair, chosen, rejected))
                    continue
            rows.append(_reject_row(pair))
        texts = [text for _, _, *both in rendered for text in both]
        tokens = encode(self.tokenizer, texts, self.data.max_length) if texts else []
        for (number, pair, _, _), chosen, rejected in zip(
            rendered, tokens[::2], tokens[1::2], strict=True
        ):
            if chosen == rejected:
                where = f"{pair.source} pair {number}"
                detail = f"last {self.data.max_length} tokens are the same"
                rows.append(_reject_row(Reject(Reason.TRUNCATED, where, detail)))
                continue
            key = _key(self.data.seed, self.names[source], split, number)
            rows.append(_pair_row(pair, chosen, rejected) | {"key": key})
        blank = dict.fromkeys(WORK_SCHEMA.names)
        place = {"source": source, "split": split}
        return pa.Table.from_pylist([blank | {"key": 0} | row | place for row in rows], WORK_SCHEMA)


def _pair_row(pair: Pair, chosen: list[int], rejected: list[int]) -> dict[str, Any]:
    shared = shared_prefix(chosen, rejected)
    return {
        "pair": pair_id(pair),
        "shared": chosen[:shared],
        "chosen": chosen[shared:],
        "rejected": rejected[shared:],
        "tokens": len(chosen) + len(rejected) - shared,
        "chosen_characters": len(pair.chosen),
        "rejected_characters": len(pair.rejected),
        "margin": pair.margin,
        "probability": pair.probability,
    }


def pair_id(pair: Pair) -> int:
    """What names a pair by its content in `scores.parquet`."""
    return _key(pair.prompt, pair.chosen, pair.rejected) - 2**63


def _reject_row(reject: Reject) -> dict[str, Any]:
    return {"reason": reject.reason.value, "where": reject.where, "detail": reject.detail}


def _key(*parts: object) -> int:
    """A place in a random order that depends on nothing but the parts."""
    return int.from_bytes(
        hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest(), "big"
    )


def _unit(*parts: object) -> float:
    return _key(*parts) / 2**64
