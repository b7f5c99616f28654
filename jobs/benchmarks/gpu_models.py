"""Reward models with random weights on the device, and the engines around them."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from deepspeed import DeepSpeedEngine
from engine_process import free_port, process_group, training_engine
from gpu_settings import GpuCheck, Shape
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from more_ray.config import ModelConfig, RunConfig, TrainConfig
from more_ray.model.dtype import DTYPES
from more_ray.model.reward_model import RewardModel

PADDING = 0


def group(config: GpuCheck) -> AbstractContextManager[None]:
    """The process group that all engines of a process share."""
    return process_group(0, 1, free_port(), config.device)


def usual_dtype(config: GpuCheck) -> torch.dtype:
    """What training computes in on a GPU; on a CPU, which only rehearses, fp32."""
    return torch.bfloat16 if config.device == "cuda" else torch.float32


def classifier(shape: Shape, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The same weights, those of bf16, whatever the dtype."""
    config = AutoConfig.for_model(
        shape.architecture, **shape.sizes, num_labels=1, pad_token_id=PADDING
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.bfloat16)
        if dtype is torch.bfloat16:
            return model
        other = AutoModelForSequenceClassification.from_config(config, dtype=dtype)
    other.load_state_dict(model.state_dict())
    return other


def new_engine(
    config: GpuCheck,
    shape: Shape,
    layout: str = "packed",
    checkpointed: bool = False,
    **train: object,
) -> DeepSpeedEngine:
    """One as training makes it.

    Args:
        train: settings of `TrainConfig`.
    """
    run = RunConfig(model=ModelConfig(batch_format=layout), train=TrainConfig(**train))
    given = run.train.precision
    dtype = usual_dtype(config) if given == "auto" else DTYPES[given]
    model = RewardModel(classifier(shape, dtype, config.device))
    if checkpointed:
        model.trained.gradient_checkpointing_enable({"use_reentrant": False})
    return training_engine(model, run, dtype, steps=1_000)
