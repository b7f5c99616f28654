"""The micro-batches of a rank, read from the stream of training data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from more_ray.data.packing import PackedBatch

Value = TypeVar("Value")


class StreamError(RuntimeError):
    """The stream gave a worker a batch that is not its own."""


def batches(
    tables: Iterable[pa.Table], rank: int, first_step: int, stop: int
) -> Iterator[PackedBatch]:
    """The micro-batches `first_step ... stop - 1` of a rank; each table holds one micro-batch.

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
            np.asarray(row["lengths"]),
            np.asarray(row["source"]),
            np.asarray(row["margin"]),
            row["share"],
            row["weight"],
            row["answers"],
            row["pair"],
        )
        step += 1
    if step != stop:
        raise StreamError(f"rank {rank}: the stream ended at step {step} of {stop}")


def on_device(batches: Iterator[PackedBatch], device: torch.device) -> Iterator[PackedBatch]:
    """The batches on `device`; a GPU copies the next batch while it computes
    with the current batch."""
    if device.type != "cuda":
        yield from batches
        return
    side = torch.cuda.Stream(device)

    def copied() -> Iterator[tuple[PackedBatch, torch.cuda.Event]]:
        for batch in batches:
            with torch.cuda.stream(side):
                moved = batch.map(Tensor.pin_memory).to(device)
                ready = side.record_event()
            yield moved, ready  # outside the `with`: a suspended generator keeps its stream

    for batch, ready in one_ahead(copied()):
        main = torch.cuda.current_stream(device)
        main.wait_event(ready)
        for tensor in batch.tensors():
            tensor.record_stream(main)  # or its memory could be reused too early
        yield batch


def one_ahead(values: Iterator[Value]) -> Iterator[Value]:
    """The same values; each is fetched before the value ahead of it is yielded."""
    waiting = next(values, None)
    while waiting is not None:
        following = next(values, None)
        yield waiting
        waiting = following
