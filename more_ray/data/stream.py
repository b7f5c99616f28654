"""The stratified Ray Data stream that the workers read, a packed micro-batch per row."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from more_ray.data.mixture import Mixture, deal
from more_ray.data.prepared import LABELS, TOKENS, Prepared, PreparedFile
from more_ray.data.ranked import Prompt, flat, prompt_of

STEPS_PER_BLOCK = 8
"""Steps that a read task makes; neighbouring steps share row groups."""


def training_stream(
    prepared: Prepared, mixture: Mixture, ranks: int, first_step: int, stop: int
) -> ray.data.Dataset:
    """Micro-batches `first_step ... stop - 1` (and a few more to fill blocks), for `ranks` workers.

    Block j belongs to rank `j mod ranks` and holds its steps `(j div ranks) * STEPS_PER_BLOCK ...`
    after the first. With order preserved, `streaming_split(equal=True)` deals the blocks out in
    turn, so each rank gets its own steps, in order.
    """
    turns = max(1, -(-(stop - first_step) // STEPS_PER_BLOCK))
    return ray.data.read_datasource(
        BatchesDatasource(prepared, mixture, ranks, first_step),
        override_num_blocks=turns * ranks,
        # Training workers may hold every CPU of the cluster; read tasks must not wait for one.
        num_cpus=0,
        concurrency=ranks,
    )


class BatchesDatasource(Datasource):
    """A data source of packed micro-batches; a read task makes a block of them."""

    def __init__(self, prepared: Prepared, mixture: Mixture, ranks: int, first_step: int) -> None:
        self.prepared, self.mixture = prepared, mixture
        self.ranks, self.first_step = ranks, first_step

    def estimate_inmemory_data_size(self) -> None:
        return None

    def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[ReadTask]:
        metadata = BlockMetadata(
            STEPS_PER_BLOCK, size_bytes=None, input_files=None, exec_stats=None
        )
        return [
            ReadTask(partial(self._read, block), metadata, schema=BATCH_SCHEMA)
            for block in range(parallelism)
        ]

    def _read(self, block: int) -> list[pa.Table]:
        files = [self.prepared.file(name, "train") for name in self.mixture.names]
        # The same for all ranks and steps, which add up their sums.
        labels = [name for name in LABELS if any(file.has(name) for file in files)]
        turn, rank = divmod(block, self.ranks)
        first = self.first_step + turn * STEPS_PER_BLOCK
        rows = [
            {"step": step, "rank": rank, **self._batch(files, labels, step, rank)}
            for step in range(first, first + STEPS_PER_BLOCK)
        ]
        return [pa.Table.from_pylist(rows, BATCH_SCHEMA)]

    def _batch(
        self, files: list[PreparedFile], labels: list[str], step: int, rank: int
    ) -> dict[str, Any]:
        drawn = self.mixture.drawn(step)
        tokens = [
            np.bincount(record_N, file.take(row_N, ["tokens"])["tokens"].to_numpy())
            for file, (row_N, record_N) in zip(files, drawn, strict=True)
        ]
        prompts: list[Prompt] = []
        batch: dict[str, list[Any]] = {name: [] for name in ("source", "margin", *labels)}
        for source, (file, (row_N, record_N), rank_of) in enumerate(
            zip(files, drawn, deal(tokens, self.ranks), strict=True)
        ):
            mine_N = rank_of[record_N] == rank
            if not mine_N.any():
                continue
            pairs = file.take(row_N[mine_N], [*TOKENS, "margin", *labels]).to_pylist()
            for _, together in groupby(zip(record_N[mine_N], pairs, strict=True), itemgetter(0)):
                prompts.append(prompt_of([pair for _, pair in together]))
            batch["source"] += [source] * len(pairs)
            batch["margin"] += [pair["margin"] or 0.0 for pair in pairs]
            for name in labels:
                batch[name] += [1.0 if pair[name] is None else pair[name] for pair in pairs]
        return batch | flat(prompts)


BATCH_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("rank", pa.int64()),
        ("input_ids", pa.list_(pa.int32())),
        ("lengths", pa.list_(pa.int32())),
        ("answers", pa.list_(pa.int32())),
        ("pair", pa.list_(pa.int32())),
        ("source", pa.list_(pa.int32())),
        ("margin", pa.list_(pa.float32())),
        ("share", pa.list_(pa.float32())),
        ("weight", pa.list_(pa.float32())),
    ]
)
"""`share` and `weight` are null where no training pair of the run has one."""
