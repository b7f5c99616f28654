"""The read task of preparation: a shard's pairs, checked and tokenised.

Separate from `prepare`, so that the process of a task imports no more than this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import jinja2
import pyarrow as pa

from more_ray.config import DataConfig
from more_ray.data.formatting import NO_LIMIT, cut, encode, render, render_prompt, shared_prefix
from more_ray.data.prepared import PAIR_SCHEMA, TOKENS
from more_ray.data.records import Pair
from more_ray.data.rejects import InvalidRecord, Reason, Reject
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
        pa.field("nth", pa.int32()),
        pa.field("answers", pa.uint64()),
        pa.field("swapped", pa.bool_()),
        pa.field("uncut", pa.list_(pa.int32())),
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
    """The read task: a shard's pairs, checked and tokenised, each with its key in the random order.

    All pairs of the sources in `whole` are test pairs. With `chosen_only`, rows hold prompts
    (as shared tokens) with their chosen answers, and no rejected tokens. Only with `soft` are ties
    pairs, and rows have shares.
    """

    def __init__(
        self,
        names: list[str],
        simulator: Simulator,
        tokenizer: PreTrainedTokenizerBase,
        data: DataConfig,
        chosen_only: bool,
        whole: frozenset[str] = frozenset(),
        soft: bool = False,
    ) -> None:
        self.names, self.simulator, self.tokenizer, self.data = names, simulator, tokenizer, data
        self.chosen_only = chosen_only
        self.whole = whole
        self.soft = soft

    def __call__(self, batch: dict[str, Any]) -> Iterator[pa.Table]:
        (shard,) = batch["shard"]
        numbered = _by_record(self._pairs(shard), shard.start)
        while chunk := list(islice(numbered, BATCH)):
            yield self._table(shard, chunk)

    def _pairs(self, shard: Shard) -> Iterator[Pair | Reject]:
        name = self.names[shard.source]
        if shard.files is None:
            pairs = self.simulator.pairs(name, shard.split, shard.start, shard.stop)
            yield from self._without_ties(pairs, shard)
        elif name in self.whole:
            if shard.split == "test":
                yield from self._without_ties(iter_pairs(shard.files, "train"), shard)
        elif has_test(shard.files):
            yield from self._without_ties(iter_pairs(shard.files, shard.split), shard)
        else:
            for pair in self._without_ties(iter_pairs(shard.files, "train"), shard):
                if isinstance(pair, Reject):
                    if shard.split == "train":
                        yield pair
                elif self._held_out(pair) == (shard.split == "test"):
                    yield pair

    def _without_ties(
        self, pairs: Iterable[Pair | Reject], shard: Shard
    ) -> Iterator[Pair | Reject]:
        """The same, with ties as rejects where a label must be hard."""
        for number, pair in enumerate(pairs, shard.start):
            if isinstance(pair, Pair) and pair.share == 0.5 and not self.soft:
                where = f"{pair.source} pair {number}"
                yield Reject(Reason.TIE, where, "neither answer is better")
            else:
                yield pair

    def _held_out(self, pair: Pair) -> bool:
        """Whether a pair is a test pair, where the source has no test split; decided per prompt."""
        return _unit(self.data.seed, json.dumps(pair.prompt)) < self.data.test_fraction

    def _table(self, shard: Shard, numbered: list[tuple[int, int, Pair | Reject]]) -> pa.Table:
        source, split = shard.source, shard.split
        rows: list[dict[str, Any]] = []
        rendered: list[tuple[int, int, Pair, list[str]]] = []
        for number, nth, pair in numbered:
            if isinstance(pair, Pair):
                where = f"{pair.source} pair {number}"
                try:
                    rendered.append((number, nth, pair, self._texts(pair)))
                    continue
                except jinja2.TemplateError as error:
                    pair = Reject(Reason.TEMPLATE, where, str(error))
                except InvalidRecord as invalid:
                    pair = invalid.at(where)
            rows.append(_reject_row(pair))
        texts = [text for *_, pair_texts in rendered for text in pair_texts]
        every = zip(rendered, self._tokens(texts), strict=True)
        for (number, nth, pair, pair_texts), tokens in every:
            if tokens["chosen"] == tokens["rejected"]:
                where = f"{pair.source} pair {number}"
                reject = Reject(Reason.TEMPLATE_ALIKE, where, "whatever their length")
                if pair_texts[0] != pair_texts[1]:
                    detail = f"last {self.data.max_length} tokens are the same"
                    reject = Reject(Reason.TRUNCATED, where, detail)
                rows.append(_reject_row(reject))
                continue
            key = _key(self.data.seed, self.names[source], split, number)
            share = pair.share if self.soft else None
            rows.append(_pair_row(pair, tokens) | {"share": share, "key": key, "nth": nth})
        blank = dict.fromkeys(WORK_SCHEMA.names) | {"key": 0, "nth": 0}
        origin = {"source": source, "split": split}
        return pa.Table.from_pylist([blank | row | origin for row in rows], WORK_SCHEMA)

    def _texts(self, pair: Pair) -> list[str]:
        """The rendered texts of both answers, or of the chosen answer and its prompt."""
        chosen = render(self.tokenizer, pair.prompt, pair.chosen)
        if self.chosen_only:
            return [chosen, render_prompt(self.tokenizer, pair.prompt)]
        if not pair.rejected:
            raise InvalidRecord(Reason.EMPTY, "rejected has no answer")
        return [chosen, render(self.tokenizer, pair.prompt, pair.rejected)]

    def _tokens(self, texts: list[str]) -> Iterator[dict[str, list[int]]]:
        """The tokens that both answers share, and the rest of each, from two `texts` per pair; and
        how many tokens each text had before it was cut, as `uncut`."""
        if not texts:
            return
        if self.chosen_only:
            yield from self._answer_tokens(texts)
            return
        tokens = encode(self.tokenizer, texts, NO_LIMIT)
        for both in zip(tokens[::2], tokens[1::2], strict=True):
            chosen, rejected = (cut(self.tokenizer, one, self.data.max_length) for one in both)
            shared = shared_prefix(chosen, rejected)
            yield {
                "shared": chosen[:shared],
                "chosen": chosen[shared:],
                "rejected": rejected[shared:],
                "uncut": [len(one) for one in both],
            }

    def _answer_tokens(self, texts: list[str]) -> Iterator[dict[str, list[int]]]:
        """As `_tokens` for chosen answers only: the prompt is shared, and nothing is rejected."""
        uncut = encode(self.tokenizer, texts, NO_LIMIT)
        for chosen, prompt in zip(uncut[::2], uncut[1::2], strict=True):
            tokens = cut(self.tokenizer, chosen, self.data.max_length)
            # All of the prompt may be shared, so a token that no answer has is put after it.
            answer = min(len(chosen) - shared_prefix(chosen, [*prompt, -1]), len(tokens))
            yield {
                "shared": tokens[:-answer],
                "chosen": tokens[-answer:],
                "rejected": [],
                "uncut": [len(chosen)],
            }


def _by_record(
    pairs: Iterator[Pair | Reject], start: int
) -> Iterator[tuple[int, int, Pair | Reject]]:
    """Each with a number, which the pairs of a record have in common, and its place among those."""
    record: str | None = None
    number = start
    for place, pair in enumerate(pairs, start):
        if isinstance(pair, Reject):  # the record around it goes on
            yield place, 0, pair
            continue
        if pair.record is None or pair.record != record:
            number = place
        record = pair.record
        yield number, place - number, pair


def _pair_row(pair: Pair, tokens: dict[str, list[int]]) -> dict[str, Any]:
    return {
        "pair": pair_id(pair),
        **tokens,
        "tokens": sum(len(tokens[name]) for name in TOKENS),
        "chosen_characters": len(pair.chosen),
        "rejected_characters": len(pair.rejected),
        "margin": pair.margin,
        "probability": pair.probability,
        "subset": pair.subset,
        "weight": None if pair.weight == 1 else pair.weight,
        "prompt": _key(pair.prompt),
        "answers": _key(pair.prompt, *sorted([pair.chosen, pair.rejected])),
        "swapped": pair.chosen > pair.rejected,
    }


def pair_id(pair: Pair) -> int:
    """The number that identifies a pair by its content in `scores.parquet`."""
    return _key(pair.prompt, pair.chosen, pair.rejected) - 2**63


def _reject_row(reject: Reject) -> dict[str, Any]:
    return {"reason": reject.reason.value, "where": reject.where, "detail": reject.detail}


def _key(*parts: object) -> int:
    """A sort key for a random order, which depends on the parts only."""
    return int.from_bytes(
        hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest(), "big"
    )


def _unit(*parts: object) -> float:
    return _key(*parts) / 2**64
