"""Nodes that are to be taken away: how all ranks learn of it in one step, and how they leave."""

from __future__ import annotations

from datetime import timedelta

import ray.train
import torch
import torch.distributed as dist
from ray.train.v2._internal.execution.context import get_train_context


class Announcements:
    """What rank 0 knows, told to all ranks by a group of its own, which no GPU waits for.

    Args:
        stall_timeout: seconds that a rank may keep the others waiting.
    """

    def __init__(self, stall_timeout: int) -> None:
        self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=stall_timeout))

    def seen(self) -> bool:
        """Whether a node of a rank is to be taken away; every rank must ask.

        One byte from rank 0. Ray Train's own `get_preemption_info` makes all ranks wait for an
        actor.
        """
        known = torch.zeros(1, dtype=torch.uint8)
        if dist.get_rank() == 0:  # from an internal of Ray 2.60, hence the pin
            known.fill_(get_train_context().preemption_context.preemption_info is not None)
        dist.broadcast(known, src=0, group=self._group)
        return bool(known)


def leave() -> None:
    """End after a checkpoint; every rank must call it.

    The ranks are started again at once, from that checkpoint, where there is room without the node.
    Going on until it is gone would only do steps that are then done again.

    Raises:
        RayActorError: with which Ray Train takes this for the node's end, and no failure.
    """
    ray.train.get_all_reported_checkpoints()  # waits until the record names the checkpoint
    raise ray.exceptions.RayActorError(error_msg="a node is to be taken away", preempted=True)
