"""What Ray Train hands to each worker.

Apart from `worker`, so that the controller, which handles it, too, imports no model code.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
        # The processes behind the stream start while this one imports.
        shard = beside.submit(ray.train.get_dataset_shard, "train")
        from more_ray.train.worker import train

        train(arguments["job"], shard.result)
