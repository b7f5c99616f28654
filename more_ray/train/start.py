"""The function that Ray Train runs on each worker.

It starts without model code, so that the stream is made while the loop is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pyarrow as pa
import ray.train

from more_ray.train.job import Job


def train_loop(arguments: dict[str, Job]) -> None:
    """The function that `TorchTrainer` calls on each worker."""
    with ThreadPoolExecutor(1) as pool:
        # The first batch is made while this process imports and loads the model.
        tables = pool.submit(_start_stream)
        from more_ray.train.worker import train

        train(arguments["job"], tables.result)


def _start_stream() -> Iterator[pa.Table]:
    shard = ray.train.get_dataset_shard("train")
    tables = iter(shard.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=4))
    return chain([next(tables)], tables)
