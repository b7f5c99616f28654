"""The precision that a model is computed in."""

from __future__ import annotations

import time

import torch
from torch import nn

from more_ray.config import ModelConfig
from more_ray.model.loading import hidden_size

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SMALL = 256
"""Below this hidden size other work outweighs products, and bf16 gains nothing on a CPU."""
WORTH_IT = 0.6
"""bf16 is chosen on a CPU where it takes at most this share of fp32's time."""


def choose_dtype(wanted: str, config: ModelConfig, device: str) -> str:
    """`wanted`; for auto bf16 on a GPU, and on a CPU that is much faster in it, else fp32."""
    if wanted != "auto":
        return wanted
    pays = device == "cuda" or (hidden_size(config) >= SMALL and computes_bf16_fast())
    return "bf16" if pays else "fp32"


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
