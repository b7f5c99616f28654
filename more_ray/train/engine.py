"""The DeepSpeed engine around a reward model."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.zero import GatheredParameters
from torch import Tensor, nn
from transformers import PreTrainedModel

from more_ray.config import RunConfig
from more_ray.model.heads import DriftingRewardModel
from more_ray.train.optimizer import MasterAdamW

DRIFTS = "drifts"
"""Name of the drifts `[K, H]` among gathered weights."""
BUCKET = 50_000_000
"""Numbers per message: 200 MB of gradients, where DeepSpeed's own default takes 2 GB."""


class TrainedModel(Protocol):
    """A module whose forward returns two numbers per pair, and the inputs of the head gradient;
    in evaluation it may return more numbers per pair."""

    @property
    def trained(self) -> PreTrainedModel:
        """The Hugging Face model that is trained and exported."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def to(self, device: str) -> object: ...


def init_distributed(stall_timeout: int) -> None:
    """Give DeepSpeed the process group that Ray Train made.

    DeepSpeed's shared-memory operator, which needs a compiler, is replaced by plain gloo and NCCL.

    Args:
        stall_timeout: seconds that ranks wait for each other, in DeepSpeed's own groups too.
            Gradients and partitioned weights go through a copy of Ray Train's group, to which
            DeepSpeed would give torch's default timeout: 30 minutes with gloo, 10 with NCCL.
    """
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed()
    patience = timedelta(seconds=stall_timeout)
    deepspeed.comm.comm.cdb.new_group = partial(dist.new_group, timeout=patience)


def make_engine(
    model: TrainedModel,
    config: RunConfig,
    dtype: torch.dtype,
    micro_steps: int,
    load_universal: bool = False,
) -> deepspeed.DeepSpeedEngine:
    """Wrap `model` in AdamW, the learning-rate schedule and ZeRO.

    Args:
        micro_steps: of the whole run.
        load_universal: whether the checkpoint to load is in DeepSpeed's universal format.
    """
    if config.train.zero_stage == 0:
        model.to(get_accelerator().current_device_name())  # the optimizer's fp32 weights follow
    optimizer = make_optimizer(model, config)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        lr_scheduler=make_schedule(optimizer, config, micro_steps),
        config={
            **deepspeed_config(config, dtype),
            "checkpoint": {"load_universal": load_universal},
        },
        dist_init_required=False,
    )
    return engine


def make_optimizer(model: TrainedModel, config: RunConfig) -> torch.optim.Adam:
    """AdamW; without ZeRO one that clips, checks the gradient and keeps fp32 weights."""
    options: dict[str, Any] = {
        "lr": config.optimizer.lr,
        "betas": config.optimizer.betas,
        "weight_decay": config.optimizer.weight_decay,
        # AdamW. Torch's class of that name would load a ridge's group as one with decoupled decay.
        "decoupled_weight_decay": True,
    }
    if config.train.zero_stage == 0:
        return MasterAdamW(groups(model, config), config.optimizer.clip, **options)
    # DeepSpeed wraps it, clips and checks the gradient.
    return torch.optim.Adam(groups(model, config), fused=True, **options)


def make_schedule(
    optimizer: torch.optim.Optimizer, config: RunConfig, micro_steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate of each update of a run of that many micro-steps."""
    updates = micro_steps // config.train.accumulation
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda update: learning_rate_factor(
            update, updates, config.optimizer.warmup, config.optimizer.schedule
        ),
    )


def groups(model: TrainedModel, config: RunConfig) -> list[dict[str, Any]]:
    """The parameters that AdamW trains; drifts are apart, since they have a ridge."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not isinstance(model, DriftingRewardModel):
        return [{"params": trained}]
    drift = model.drifts.weight
    return [
        {"params": [parameter for parameter in trained if parameter is not drift]},
        # Added to the gradient, so that it is the ridge of (4)'s fit, not AdamW's decoupled decay.
        {
            "params": [drift],
            "weight_decay": config.model.drift_decay,
            "decoupled_weight_decay": False,
        },
    ]


def learning_rate_factor(update: int, updates: int, warmup: float, schedule: str) -> float:
    """The learning rate at an optimizer update, as a share of its peak."""
    rising = round(warmup * updates)
    if update < rising:
        return (update + 1) / rising
    done = (update - rising) / max(1, updates - rising)
    return {
        "constant": 1.0,
        "linear": max(0.0, 1 - done),
        "cosine": 0.5 * (1 + math.cos(math.pi * min(1.0, done))),
    }[schedule]


def deepspeed_config(config: RunConfig, dtype: torch.dtype) -> dict[str, Any]:
    train = config.train
    offload = {"device": "cpu"} if train.offload else {"device": "none"}
    zero: dict[str, Any] = {
        "stage": train.zero_stage,
        "offload_optimizer": offload,
        "overlap_comm": True,
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
    }
    if train.zero_stage == 3:
        zero["offload_param"] = offload
    return {
        # DeepSpeed uses this for its statistics only; the stream sets the size of micro-batches.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": train.accumulation,
        # Without ZeRO, `MasterAdamW` clips the gradient and keeps fp32 weights.
        "gradient_clipping": config.optimizer.clip if train.zero_stage else 0.0,
        "bf16": {"enabled": dtype is torch.bfloat16 and train.zero_stage > 0},
        "communication_data_type": "fp32",
        "data_types": {"grad_accum_dtype": "fp32"},
        # When enabled, it waits for the device twice per step.
        "timers": {"throughput": {"enabled": False}},
        "zero_optimization": zero,
        # Use torch's AdamW for offloaded state as well: DeepSpeed's own needs a compiler.
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": None,
    }


def gather_weights(engine: deepspeed.DeepSpeedEngine) -> dict[str, Tensor] | None:
    """All weights of the trained model on rank 0's CPU, gathered one by one; None on other ranks.

    They include the buffers that belong to a checkpoint (some routers of experts have such), and
    drifts, as `DRIFTS`.
    """
    trained, weights = engine.module.trained, {}
    parameters = dict(trained.named_parameters())
    if isinstance(engine.module, DriftingRewardModel):
        parameters[DRIFTS] = engine.module.drifts.weight
    for name, parameter in parameters.items():
        with GatheredParameters(parameter):
            if engine.global_rank == 0:
                weights[name] = parameter.detach().cpu().clone()
    if engine.global_rank != 0:
        return None
    saved = trained.state_dict().keys()
    buffers = {
        name: buffer.cpu().clone() for name, buffer in trained.named_buffers() if name in saved
    }
    return weights | buffers
