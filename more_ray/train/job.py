"""What Ray Train hands to each worker.

Apart from `worker`, so that the controller, which handles it, too, imports no model code.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import ray.actor
import ray.train

from more_ray.config import RunConfig
from more_ray.data.mixture import Mixture
from more_ray.data.prepared import Prepared


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know."""

    config: RunConfig
    prepared: Prepared
    mixture: Mixture
    steps: int
    run_log: ray.actor.ActorHandle


def train_loop(arguments: dict[str, Job]) -> None:
    """The function that `TorchTrainer` runs on each worker."""
    with ThreadPoolExecutor(1) as beside:
        # The first batch is made while this process imports and loads the model.
        tables = beside.submit(_start_stream)
        from more_ray.train.worker import train

        train(arguments["job"], tables.result)


def _start_stream() -> Iterator[pa.Table]:
    shard = ray.train.get_dataset_shard("train")
    tables = iter(shard.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=4))
    return chain([next(tables)], tables)
