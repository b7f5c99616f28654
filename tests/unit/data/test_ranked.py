"""Ranked answers, packed once: the same loss, gradients and lam as pair by pair."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from more_ray.config import DataConfig, ModelConfig
from more_ray.data.mixture import Mixture
from more_ray.data.packing import PackedBatch
from more_ray.data.prepared import PAIR_SCHEMA, PairWriter, Prepared
from more_ray.data.ranked import flat, prompt_of
from more_ray.data.reading import ReadShard, Shard, _by_record
from more_ray.data.records import Pair
from more_ray.data.rejects import Reason, Reject
from more_ray.data.simulated import Simulator
from more_ray.data.sources import SourceFiles
from more_ray.data.stream import BatchesDatasource
from more_ray.model.attention import PACKED_ATTENTION
from more_ray.model.loading import load_classifier, load_tokenizer
from more_ray.model.reward_model import RewardModel
from more_ray.objective.weighting import MinNorm
from more_ray.storage import locate, write_json
from more_ray.train.batches import batches
from more_ray.train.exchange import solve
from more_ray.train.losses import RankingLosses

ANSWER = st.lists(st.integers(1, 4), min_size=1, max_size=6).map(tuple)
RECORD = st.lists(ANSWER, min_size=2, max_size=5, unique=True)
"""Answers with the prompt's tokens, best first."""


def pairs_of(record: list[tuple[int, ...]]) -> list[dict[str, list[int]]]:
    """As prepared files have them: without knowing of the record's other pairs."""
    pairs = []
    for chosen, rejected in combinations(record, 2):
        limit = min(len(chosen), len(rejected)) - 1
        shared = next((n for n in range(limit) if chosen[n] != rejected[n]), limit)
        parts = (chosen[:shared], chosen[shared:], rejected[shared:])
        pairs.append(dict(zip(("shared", "chosen", "rejected"), map(list, parts), strict=True)))
    return pairs


def packed(records: list[list[tuple[int, ...]]], together: bool) -> PackedBatch:
    groups = [pairs_of(record) for record in records]
    source = np.repeat(np.arange(len(records)), [len(pairs) for pairs in groups])
    if not together:
        groups = [[pair] for pairs in groups for pair in pairs]
    row = flat([prompt_of(pairs) for pairs in groups])
    zeros = np.zeros(len(source))
    columns = (row[name] for name in ("input_ids", "lengths"))
    return PackedBatch.from_arrays(
        *columns, source, zeros, answers=row["answers"], pair=row["pair"]
    )


@given(st.lists(RECORD, min_size=1, max_size=4))
def test_every_pair_has_its_answers(records: list[list[tuple[int, ...]]]) -> None:
    batch = packed(records, together=True)
    rows = [tuple(row.tolist()) for row in batch.rows(batch.input_ids_T)]
    answers = batch.by_pair(torch.arange(len(rows))).tolist()
    found = [(rows[chosen], rows[rejected]) for chosen, rejected in answers]
    assert found == [pair for record in records for pair in combinations(record, 2)]
    assert batch.tokens_N.sum().item() == pytest.approx(len(batch.input_ids_T))
    assert len(rows) == sum(map(len, records))  # each once


@pytest.mark.parametrize("attention", [PACKED_ATTENTION, None])
def test_the_loss_and_lam_are_those_of_pairs_one_by_one(
    tokenizer: PreTrainedTokenizerBase, attention: str | None
) -> None:
    rng = np.random.default_rng(0)
    records = []
    for _ in range(3):
        prompt = tuple(rng.integers(5, 90, 12))
        records.append([prompt + tuple(rng.integers(5, 90, 3 + 4 * n)) for n in range(4)])
    model = RewardModel(load_classifier(ModelConfig(), tokenizer, torch.float32, seed=0)).train()
    model.use_attention(attention)
    found = []
    for together in (False, True):
        model.zero_grad()
        batch = packed(records, together)
        loss_N, sums = RankingLosses(3, use_margin=False)(Engine(model), batch)
        loss_N.mean().backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        found.append((loss_N, sums, gradients, solve(sums, MinNorm())[1].lam_K))
    (loss_N, sums, gradients, lam_K), (once_N, once, once_gradients, once_lam_K) = found
    torch.testing.assert_close(once_N, loss_N, atol=1e-6, rtol=0)
    torch.testing.assert_close(once.grad_KH, sums.grad_KH, atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(once_lam_K, lam_K, atol=1e-6)
    for mine, expected in zip(once_gradients, gradients, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-4)


@dataclass
class Engine:
    """As much of one as losses need."""

    module: RewardModel

    def __call__(self, batch: PackedBatch) -> Any:
        return self.module(batch)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 2))
def test_records_come_whole_and_once_an_epoch(pairs: list[int], batch: int, epochs: int) -> None:
    first_rows = np.cumsum([0, *pairs[:-1]])
    mixed = Mixture(("a",), (sum(pairs),), batch, epochs, True, 3, (first_rows,))
    drawn = [mixed.rows(step)[0] for step in range(len(pairs) * epochs // batch)]
    record_R = np.repeat(np.arange(len(pairs)), pairs)
    for rows in drawn:
        taken, times = np.unique(record_R[rows], return_counts=True)
        np.testing.assert_array_equal(times % np.array(pairs)[taken], 0)
    if len(pairs) * epochs % batch == 0:  # otherwise the last step has more
        times = np.bincount(np.concatenate(drawn), minlength=sum(pairs))
        assert (times == epochs).all()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig(), 512)


def test_a_tree_of_ranked_replies_from_the_file_to_the_batch(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    messages = []
    for tree in range(6):
        root = {"message_id": f"q{tree}", "parent_id": None, "role": "prompter", "rank": None}
        messages.append(root | {"text": f"Question {tree}?"})
        for rank in range(4 if tree % 2 else 2):
            reply = {"message_id": f"a{tree}.{rank}", "parent_id": f"q{tree}", "rank": rank}
            messages.append(reply | {"role": "assistant", "text": f"Answer {rank} to {tree}."})
    file = tmp_path / "trees.jsonl"
    blank = {"deleted": False, "lang": "en"}
    file.write_text("".join(json.dumps(blank | message) + "\n" for message in messages))

    prepared = prepare(file, tokenizer, tmp_path)
    first_rows = prepared.first_rows("trees")
    assert np.diff(np.append(first_rows, 21)).tolist().count(6) == 3  # and three of one pair
    mixture = Mixture(("trees",), (21,), 3, 1, True, 0, (first_rows,))
    assert mixture.steps == 2
    found = []
    for rank in range(2):
        tasks = BatchesDatasource(prepared, mixture, 2, 0).get_read_tasks(2)
        (table,) = tasks[rank]()
        rows = [table.slice(step, 1) for step in range(len(table))]
        for batch in batches(rows, rank, 0, 2):
            texts = [tokenizer.decode(row) for row in batch.rows(batch.input_ids_T)]
            assert len(texts) == len(set(texts))
            for chosen, rejected in batch.by_pair(torch.arange(len(texts))).tolist():
                found.append((texts[chosen], texts[rejected]))
    assert len(found) == len(set(found)) == 21
    for chosen, rejected in found:
        (better, tree), (worse, other) = (
            text.split("Answer ")[1].split(".")[0].split(" to ") for text in (chosen, rejected)
        )
        assert better < worse
        assert tree == other


def test_a_reject_does_not_tear_its_record() -> None:
    def pair(record: str | None) -> Pair:
        return Pair((), "a", "b", "mine", record=record)

    tie = Reject(Reason.TIE, "", "")
    rows = [pair(None), pair("r"), tie, pair("r"), pair("r"), tie, pair("s"), pair(None)]
    found = [(number, nth) for number, nth, _ in _by_record(iter(rows), 10)]
    assert [found[place] for place in (0, 1, 3, 4, 6, 7)] == [
        *((10, 0), (11, 0), (11, 2), (11, 3), (16, 0), (17, 0))
    ]


def test_a_record_that_is_drawn_twice_is_two() -> None:
    mixed = Mixture(("a",), (6,), 2, 2, True, 3, (np.array([0]),))
    ((row_N, record_N),) = mixed.drawn(0)
    assert row_N.tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert record_N.tolist() == [0] * 6 + [1] * 6


def prepare(file: Path, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Prepared:
    """What `more_ray.data.prepare` does, without Ray Data."""
    read = ReadShard(
        ["trees"], Simulator(), tokenizer, DataConfig(test_fraction=1e-9), chosen_only=False
    )
    shard = Shard(0, "train", SourceFiles("trees", (str(file),)))
    table = pa.concat_tables(read({"shard": [shard]}))
    good = table.filter(pc.field("reason").is_null())
    good = good.sort_by([("key", "ascending"), ("nth", "ascending")])
    filesystem, path = locate(str(folder / "trees.train.parquet"))
    with PairWriter(path, filesystem) as writer:
        writer.write(good.select(PAIR_SCHEMA.names).cast(PAIR_SCHEMA))
    write_json(str(folder / "manifest.json"), {"sources": {"trees": {"train": len(good)}}})
    return Prepared.open(str(folder))
