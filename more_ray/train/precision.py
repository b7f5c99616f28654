"""The precision of a run's weights and matrix products: decided at its first start, then kept."""

from __future__ import annotations

import torch

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.model.dtype import DTYPES, choose_dtype
from more_ray.run_folder import DEVICE
from more_ray.train.checkpoint_record import steps_done


def kept_dtype(config: RunConfig, device: torch.device) -> torch.dtype:
    """The precision that a run started in; at its first start, what `train.precision` says."""
    file = storage.join(config.output_dir, DEVICE)
    if storage.exists(file):
        return DTYPES[storage.read_json(file)["precision"]]
    wanted = config.train.precision
    if wanted == "auto" and device.type == "cpu" and steps_done(config.output_dir):
        wanted = "fp32"  # a run of an earlier version, which kept no such file
    precision = choose_dtype(wanted, config.model, device.type)
    storage.write_json(file, {"use_gpu": device.type == "cuda", "precision": precision})
    return DTYPES[precision]
