"""Shares of votes and weights of pairs, from the simulator to prepared rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from more_ray import storage
from more_ray.config import DataConfig, ModelConfig
from more_ray.data.mixture import Mixture
from more_ray.data.prepared import PAIR_SCHEMA, PairWriter, Prepared, PreparedFile, labels_in
from more_ray.data.reading import ReadShard, Shard
from more_ray.data.simulated import Simulator
from more_ray.data.stream import BatchesDatasource
from more_ray.model.loading import load_tokenizer
from more_ray.train.batches import batches

NAME = "population_1"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig(), 512)


def reader(tokenizer: PreTrainedTokenizerBase, soft: bool, votes: int = 0) -> ReadShard:
    simulator = Simulator(1, votes=votes)
    return ReadShard([NAME], simulator, tokenizer, DataConfig(), False, soft=soft)


def rows(tokenizer: PreTrainedTokenizerBase, soft: bool, votes: int, pairs: int = 60) -> pa.Table:
    read = reader(tokenizer, soft, votes)
    return pa.concat_tables(read({"shard": [Shard(0, "train", None, 0, pairs)]}))


@given(st.integers(0, 10_000), st.integers(1, 9))
@settings(deadline=None)
def test_the_first_vote_is_the_label_that_there_is_without_votes(index: int, votes: int) -> None:
    label = Simulator(1).pair(NAME, "train", index)
    assert label.share is None
    assert Simulator(1, votes=1).pair(NAME, "train", index) == replace(label, share=1.0)
    asked = Simulator(1, votes=votes).pair(NAME, "train", index)
    assert asked.share is not None
    assert asked.share >= 0.5
    assert asked.share * votes == pytest.approx(round(asked.share * votes))
    swapped = replace(
        label, chosen=label.rejected, rejected=label.chosen, probability=1 - label.probability
    )
    assert replace(asked, share=None) in ([label] if asked.share == 0.5 else [label, swapped])


def test_shares_of_many_votes_come_near_the_probability() -> None:
    pairs = list(Simulator(1, votes=2_500).pairs(NAME, "train", 0, 200))
    error_N = np.array([pair.share - pair.probability for pair in pairs])
    assert abs(error_N.mean()) < 4 * 0.01 / np.sqrt(200)
    assert error_N.std() < 0.012


def test_ties_are_rejects_unless_labels_are_soft(tokenizer: PreTrainedTokenizerBase) -> None:
    pairs = list(Simulator(1, votes=2).pairs(NAME, "train", 0, 60))
    ties = sum(pair.share == 0.5 for pair in pairs)
    assert 0 < ties < 60
    soft, hard = rows(tokenizer, True, 2), rows(tokenizer, False, 2)
    assert soft["share"].to_pylist() == [pair.share for pair in pairs]
    assert hard["reason"].to_pylist().count("tie") == ties
    assert hard["share"].null_count == len(hard)
    # What both keep has the same place in the random order.
    kept = soft.filter(pc.field("share") > 0.5)
    of_hard = hard.filter(pc.field("reason").is_null())
    for name in ("pair", "key", "chosen"):
        assert of_hard[name].to_pylist() == kept[name].to_pylist()


@pytest.mark.parametrize("soft", [False, True])
def test_a_weight_that_is_not_one_is_kept(soft: bool, tokenizer: PreTrainedTokenizerBase) -> None:
    pair = Simulator(1).pair(NAME, "train", 0)
    read = reader(tokenizer, soft)
    shard = Shard(0, "train", None)
    table = read._table(shard, [(0, 0, pair), (1, 0, replace(pair, weight=2.5))])
    assert table["weight"].to_pylist() == [None, 2.5]


def written(table: pa.Table, folder: Path, name: str) -> PreparedFile:
    filesystem, path = storage.locate(str(folder / f"{name}.train.parquet"))
    with PairWriter(path, filesystem) as writer:
        writer.write(table.select(PAIR_SCHEMA.names).cast(PAIR_SCHEMA))
    return PreparedFile(str(folder / f"{name}.train.parquet"))


def with_last_weight(table: pa.Table, weight: float) -> pa.Table:
    weights = pa.array([None] * (len(table) - 1) + [weight], pa.float32())
    return table.set_column(table.column_names.index("weight"), "weight", weights)


def test_files_know_whether_they_have_shares_and_weights(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    soft = rows(tokenizer, True, 3, 300)  # more than a row group
    plain = written(rows(tokenizer, False, 0, 10), tmp_path, "plain")
    file = written(with_last_weight(soft, 0.5), tmp_path, "soft")
    assert [file.has(name) for name in ("share", "weight", "margin")] == [True, True, False]
    assert labels_in([plain]) == {}
    labels = labels_in([plain, file])
    np.testing.assert_array_equal(labels["weight"], [1] * 309 + [0.5])
    np.testing.assert_array_equal(labels["share"], [1] * 10 + soft["share"].to_pylist())


def test_a_batch_may_have_no_pair_of_a_small_source(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """As with `data.resample=false`, where every pair comes once."""
    counts = {"large": 40, "small": 3}
    for seed, (name, count) in enumerate(counts.items()):
        written(rows(tokenizer, False, seed, count), tmp_path, name)
    sources = {name: {"train": count} for name, count in counts.items()}
    mixture = Mixture(tuple(counts), tuple(counts.values()), 2, 1, False, 0)
    tasks = BatchesDatasource(Prepared(str(tmp_path), {"sources": sources}), mixture, 1, 0)
    found = np.zeros(2, int)
    for block in tasks.get_read_tasks(-(-mixture.steps // 8)):
        (table,) = block()
        for batch in table.to_pylist():
            if batch["step"] < mixture.steps:
                found += np.bincount(batch["source"], minlength=2)
    assert found.tolist() == [40, 3]


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("votes", [0, 2])
def test_the_stream_carries_what_the_data_has(
    votes: int, heavy: bool, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """In every batch or in none: the sums of ranks and steps are added up."""
    table = rows(tokenizer, True, votes, 20)
    file = written(with_last_weight(table, 2.0) if heavy else table, tmp_path, NAME)
    prepared = Prepared(str(tmp_path), {"sources": {NAME: {"train": 20}}})
    mixture = Mixture((NAME,), (20,), 5, 1, True, 0)
    (block,) = BatchesDatasource(prepared, mixture, 1, 0).get_read_tasks(1)
    tables = [part for whole in block() for part in whole.to_batches(max_chunksize=1)][:4]
    stream = [pa.Table.from_batches([part]) for part in tables]
    found = list(batches(stream, 0, 0, 4))
    assert {batch.share_N is None for batch in found} == {votes == 0}
    assert {batch.weight_N is None for batch in found} == {not heavy}
    for name, value_N in labels_in([file]).items():
        carried_N = np.concatenate([getattr(batch, f"{name}_N") for batch in found])
        np.testing.assert_array_equal(np.sort(carried_N), np.sort(value_N))
