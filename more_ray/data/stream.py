"""Ray Data: the stratified stream that the workers read, one packed micro-batch a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import ray

from more_ray.data.mixture import Mixture, deal
from more_ray.data.prepared import TOKENS, Prepared

STEPS_A_BLOCK = 8
"""Steps that one read task makes; neighbouring steps share row groups."""


def training_stream(
    prepared: Prepared, mixture: Mixture, ranks: int, first_step: int, stop: int
) -> ray.data.Dataset:
    """Micro-batches `first_step ... stop - 1` (and a few more to fill blocks), for `ranks` workers.

    Block j of the index belongs to rank `j mod ranks` and holds its steps
    `(j div ranks) * STEPS_A_BLOCK ...`. With order preserved, `streaming_split(equal=True)` deals
    the blocks out in turn, so each rank gets its own steps, in order.
    """
    turns = max(1, -(-(stop - first_step) // STEPS_A_BLOCK))
    blocks = turns * ranks
    return ray.data.range(blocks * STEPS_A_BLOCK, override_num_blocks=blocks).map_batches(
        _Assemble(prepared, mixture, ranks, first_step),
        batch_size=None,
        batch_format="numpy",
        # Workers may take every CPU of the cluster, and would wait for these for ever.
        num_cpus=0,
        compute=ray.data.TaskPoolStrategy(size=2 * ranks),
    )


class _Assemble:
    """The read task: index rows to packed micro-batches."""

    def __init__(self, prepared: Prepared, mixture: Mixture, ranks: int, first_step: int) -> None:
        self.prepared, self.mixture = prepared, mixture
        self.ranks, self.first_step = ranks, first_step

    def __call__(self, index: dict[str, np.ndarray]) -> pa.Table:
        files = [self.prepared.file(name, "train") for name in self.mixture.names]
        rows = []
        for number in index["id"]:
            block, inside = divmod(int(number), STEPS_A_BLOCK)
            turn, rank = divmod(block, self.ranks)
            step = self.first_step + turn * STEPS_A_BLOCK + inside
            rows.append({"step": step, "rank": rank, **self._batch(files, step, rank)})
        return pa.Table.from_pylist(rows, BATCH_SCHEMA)

    def _batch(self, files: list[Any], step: int, rank: int) -> dict[str, Any]:
        wanted = self.mixture.rows(step)
        tokens = [
            file.take(rows, ["tokens"])["tokens"].to_numpy()
            for file, rows in zip(files, wanted, strict=True)
        ]
        batch: dict[str, list[Any]] = {"input_ids": [], "lengths": [], "source": [], "margin": []}
        for source, (file, rows, rank_of_row) in enumerate(
            zip(files, wanted, deal(tokens, self.ranks), strict=True)
        ):
            mine = rows[rank_of_row == rank]
            if not len(mine):
                continue
            for pair in file.take(mine, [*TOKENS, "margin"]).to_pylist():
                for part in TOKENS:
                    batch["input_ids"] += pair[part]
                    batch["lengths"].append(len(pair[part]))
                batch["source"].append(source)
                batch["margin"].append(pair["margin"] or 0.0)
        return batch


BATCH_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("rank", pa.int64()),
        ("input_ids", pa.list_(pa.int32())),
        ("lengths", pa.list_(pa.int32())),
        ("source", pa.list_(pa.int32())),
        ("margin", pa.list_(pa.float32())),
    ]
)
