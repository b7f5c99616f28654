"""The precision of a run's weights and products: decided at its first start, and kept."""

from __future__ import annotations

import statistics
import time

import torch

from more_ray import storage
from more_ray.config import RunConfig

DEVICE_FILE = "device.json"
"""Below a run's folder: what it was begun on."""
TOKENS, REPEATS = 1_024, 5
WORTH_IT = 0.6
"""bf16 is chosen on a CPU where a block takes at most this share of the time in fp32."""


def training_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What `train.precision` stands for; auto is bf16 on a GPU and on CPUs that compute it fast."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" or computes_bf16_fast() else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def computes_bf16_fast() -> bool:
    """Whether this CPU takes much less time for a block, forward and backward, in bf16."""
    seconds = [_seconds_of_a_block(dtype) for dtype in (torch.bfloat16, torch.float32)]
    return seconds[0] <= WORTH_IT * seconds[1]


def _seconds_of_a_block(dtype: torch.dtype) -> float:
    wide, narrow = (torch.nn.Linear(*shape, dtype=dtype) for shape in ((512, 2_048), (2_048, 512)))
    input_TH = torch.randn(TOKENS, 512).to(dtype)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        narrow(torch.nn.functional.silu(wide(input_TH))).sum().backward()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def kept_dtype(config: RunConfig, device: torch.device) -> torch.dtype:
    """The precision that a run was begun in; at its first start, `train.precision`'s."""
    file = storage.join(config.output_dir, DEVICE_FILE)
    if storage.exists(file):
        return training_dtype(storage.read_json(file)["precision"], device)
    dtype = training_dtype(config.train.precision, device)
    precision = "bf16" if dtype is torch.bfloat16 else "fp32"
    storage.write_json(file, {"use_gpu": device.type == "cuda", "precision": precision})
    return dtype
