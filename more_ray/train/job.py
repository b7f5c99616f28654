"""What Ray Train hands to each worker. Its controller loads it too, so no model code is here."""

from __future__ import annotations

from dataclasses import dataclass

import ray.actor

from more_ray.config import RunConfig
from more_ray.data.mixture import Mixture
from more_ray.data.prepared import Prepared


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs to know."""

    config: RunConfig
    prepared: Prepared
    mixture: Mixture
    steps: int
    run_log: ray.actor.ActorHandle
