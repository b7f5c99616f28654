"""The precision of a run's weights and matrix products: decided at its first start, then kept."""

from __future__ import annotations

import time

import torch
from torch import nn

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.model.loading import hidden_size
from more_ray.run_folder import DEVICE
from more_ray.train.checkpoint_record import steps_done

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SMALL = 256
"""Below this hidden size other work outweighs matrix products, and bf16 gains nothing on a CPU."""
WORTH_IT = 0.6
"""bf16 is chosen on a CPU where it takes at most this share of fp32's time."""


def kept_dtype(config: RunConfig, device: torch.device) -> torch.dtype:
    """The precision that a run started in; at its first start, what `train.precision` says."""
    file = storage.join(config.output_dir, DEVICE)
    if storage.exists(file):
        return DTYPES[storage.read_json(file)["precision"]]
    precision = config.train.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" or _bf16_pays(config) else "fp32"
    storage.write_json(file, {"use_gpu": device.type == "cuda", "precision": precision})
    return DTYPES[precision]


def _bf16_pays(config: RunConfig) -> bool:
    # A run with steps done but without this file is an earlier version's: fp32 on a CPU.
    new = steps_done(config.output_dir) == 0
    return new and hidden_size(config.model) >= SMALL and computes_bf16_fast()


def computes_bf16_fast() -> bool:
    """Whether this CPU computes two matrix products, forward and backward, much faster in bf16."""
    return _seconds(torch.bfloat16) <= WORTH_IT * _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    layers = nn.Sequential(nn.Linear(1_024, 4_096), nn.SiLU(), nn.Linear(4_096, 1_024)).to(dtype)
    input_TH = torch.randn(512, 1_024, dtype=dtype)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        layers(input_TH).sum().backward()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
