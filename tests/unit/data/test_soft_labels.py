"""Shares of votes and weights of pairs, from the simulator to prepared rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from more_ray import storage
from more_ray.config import DataConfig, ModelConfig
from more_ray.data.prepared import PAIR_SCHEMA, PairWriter, PreparedFile
from more_ray.data.reading import ReadShard, Shard
from more_ray.data.simulated import Simulator
from more_ray.model.loading import load_tokenizer

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
    table = read._table(shard, [(0, pair), (1, replace(pair, weight=2.5))])
    assert table["weight"].to_pylist() == [None, 2.5]


def test_a_file_knows_whether_it_has_shares_and_weights(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    table = rows(tokenizer, True, 3, 300)  # more than a row group
    table = table.set_column(
        table.column_names.index("weight"), "weight", pa.array([None] * 299 + [0.5], pa.float32())
    )
    filesystem, path = storage.locate(str(tmp_path / "a.train.parquet"))
    with PairWriter(path, filesystem) as writer:
        writer.write(table.select(PAIR_SCHEMA.names).cast(PAIR_SCHEMA))
    file = PreparedFile(str(tmp_path / "a.train.parquet"))
    assert [file.has(name) for name in ("share", "weight", "margin")] == [True, True, False]
