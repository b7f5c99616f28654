"""Runs without Ray: prepared pairs, the stream's micro-batches, workers that stay."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import own_workers
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from own_workers import Task, Trained, Workers
from transformers import PreTrainedTokenizerBase

from more_ray import storage
from more_ray.config import DataConfig, ModelConfig, RunConfig
from more_ray.data.mixture import Mixture
from more_ray.data.prepared import PAIR_SCHEMA, PairWriter, Prepared
from more_ray.data.reading import ReadShard, Shard
from more_ray.data.simulated import Simulator
from more_ray.data.stream import STEPS_PER_BLOCK, BatchesDatasource
from more_ray.model.loading import load_tokenizer

SOURCES, STEPS, TEST_PAIRS = 3, 6, 20
PAIRS = 8
"""Pairs of each source in a micro-batch."""


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    workers = Workers(tmp_path_factory.mktemp("workers"))
    yield workers
    workers.close()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig(), 512)


@pytest.fixture(scope="session")
def make_task(
    tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Task]:
    """A run of `STEPS` optimizer steps with changes by section, on `train.workers` workers."""

    @cache
    def prepared(chosen_only: bool) -> Prepared:
        return prepare(tokenizer, chosen_only, tmp_path_factory.mktemp("prepared"))

    def make(**changes: dict[str, Any]) -> Task:
        values = {"optimizer": {"lr": 1e-4}, "train": {"pairs_per_source": PAIRS}}
        sections = {name: values.get(name, {}) | changes.get(name, {}) for name in values | changes}
        config = RunConfig.model_validate(sections)
        pairs = prepared(config.objective.loss == "sft")
        steps = config.train.max_steps or STEPS * config.train.accumulation
        sizes = dict(zip(pairs.names, pairs.sizes("train"), strict=True))
        mixture = Mixture(
            tuple(sizes),
            tuple(sizes.values()),
            config.train.pairs_per_source,
            config.train.epochs,
            config.data.resample,
            config.train.seed,
        )
        batches = dealt(pairs, mixture, config.train.workers, steps)
        return Task(config, pairs, mixture, tokenizer, batches)

    return make


@pytest.fixture(scope="session")
def train(workers: Workers, make_task: Callable[..., Task]) -> Callable[..., Trained]:
    """What rank 0 has after a run with changes by section; the same again is not run again."""
    done: dict[str, Trained] = {}

    def run(**changes: dict[str, Any]) -> Trained:
        key = json.dumps(changes, sort_keys=True)
        if key not in done:
            task = make_task(**changes)
            done[key] = workers(task.config.train.workers, own_workers.train, task)[0]
        return done[key]

    return run


def prepare(tokenizer: PreTrainedTokenizerBase, chosen_only: bool, folder: Path) -> Prepared:
    """What `more_ray.data.prepare` does, without Ray Data."""
    simulator = Simulator(SOURCES)
    names = simulator.names()
    read = ReadShard(names, simulator, tokenizer, DataConfig(), chosen_only)
    # Sources of unequal size, as most are.
    counts = {
        name: {"train": STEPS * PAIRS - 12 * source, "test": TEST_PAIRS}
        for source, name in enumerate(names)
    }
    for source, name in enumerate(names):
        for split, count in counts[name].items():
            table = pa.concat_tables(read({"shard": [Shard(source, split, None, 0, count)]}))
            good = table.filter(pc.field("reason").is_null()).sort_by("key")
            assert len(good) == count
            filesystem, path = storage.locate(str(folder / f"{name}.{split}.parquet"))
            with PairWriter(path, filesystem) as writer:
                writer.write(good.select(PAIR_SCHEMA.names).cast(PAIR_SCHEMA))
    storage.write_json(str(folder / "manifest.json"), {"sources": counts})
    return Prepared.open(str(folder))


def dealt(
    prepared: Prepared, mixture: Mixture, ranks: int, steps: int
) -> list[list[dict[str, Any]]]:
    """The first micro-batches of each rank."""
    turns = -(-steps // STEPS_PER_BLOCK)
    blocks = BatchesDatasource(prepared, mixture, ranks, first_step=0).get_read_tasks(turns * ranks)
    own = [chain.from_iterable(block() for block in blocks[rank::ranks]) for rank in range(ranks)]
    return [[row for table in tables for row in table.to_pylist()][:steps] for tables in own]
