"""A rank's own micro-batches, out of the stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from more_ray.data.packing import PackedBatch


class StreamError(RuntimeError):
    """The stream gave a worker a batch that is not its own."""


def batches(
    tables: Iterable[pa.Table], rank: int, first_step: int, stop: int
) -> Iterator[PackedBatch]:
    """The micro-batches `first_step ... stop - 1` of a rank, of which each table holds one.

    Raises:
        StreamError: a batch of another rank or step arrived, or the stream ended early.
    """
    step = first_step
    for table in tables:
        if step == stop:
            return
        (row,) = table.to_pylist()
        if (row["step"], row["rank"]) != (step, rank):
            raise StreamError(
                f"rank {rank} expected step {step}, got step {row['step']} of rank {row['rank']}"
            )
        yield PackedBatch.from_arrays(
            np.asarray(row["input_ids"]),
            np.asarray(row["lengths"]).reshape(-1, 3),
            np.asarray(row["source"]),
            np.asarray(row["margin"]),
        )
        step += 1
    if step != stop:
        raise StreamError(f"rank {rank}: the stream ended at step {step} of {stop}")
