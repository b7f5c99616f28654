"""Nodes that will be preempted: how all ranks learn of it in the same step, and how they leave."""

from __future__ import annotations

from datetime import timedelta

import ray.train
import torch
import torch.distributed as dist
from ray.train.v2._internal.execution.context import get_train_context


class Announcements:
    """Tells all ranks of a preemption that rank 0 knows of, in a group that no GPU waits for.

    Args:
        stall_timeout: seconds that a rank may keep the others waiting.
    """

    def __init__(self, stall_timeout: int) -> None:
        self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=stall_timeout))

    def seen(self) -> bool:
        """Whether a rank's node is about to be taken away; every rank must call it.

        Rank 0 broadcasts one byte. Ray Train's own `get_preemption_info` makes all ranks wait for
        an actor.
        """
        known = torch.zeros(1, dtype=torch.uint8)
        if dist.get_rank() == 0:  # from an internal of Ray 2.60, hence the pin
            known.fill_(get_train_context().preemption_context.preemption_info is not None)
        dist.broadcast(known, src=0, group=self._group)
        return bool(known)


def leave() -> None:
    """Stop the workers after a checkpoint; every rank must call it.

    Ray Train restarts them from that checkpoint at once, where there is room without the node.
    Training on until the node is gone would only make steps that have to be repeated.

    Raises:
        RayActorError: always; Ray Train counts it as a lost node, not as a failure.
    """
    ray.train.get_all_reported_checkpoints()  # waits until the record names the checkpoint
    raise ray.exceptions.RayActorError(error_msg="a node is to be taken away", preempted=True)
