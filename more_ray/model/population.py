"""The head of one population, in the place of the shared one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from more_ray import storage
from more_ray.config import ModelConfig
from more_ray.errors import ModelError
from more_ray.model.heads_file import read_heads
from more_ray.model.trunk_digest import trunk_digest
from more_ray.run_folder import HEADS, run_of


def use_head_of(classifier: PreTrainedModel, config: ModelConfig) -> None:
    """Give the model the head of `config.source`, from the `heads.safetensors` of its run.

    Raises:
        ModelError: the model lies in no run with several heads, they are of another trunk, or there
            is no such source.
    """
    run = run_of(config.path)
    if run is None or not storage.exists(storage.join(run, HEADS)):
        raise ModelError(
            f"model.source: {config.source} given; {config.path} has no {HEADS} beside it; "
            "allowed: the model of a calibration, or of a run with model.heads=shared+drift"
        )
    hidden_size = classifier.score.weight.shape[1]
    found = read_heads(Path(run, HEADS), trunk_digest(classifier), hidden_size)
    if config.source not in found.names:
        raise ModelError(
            f"model.source: {config.source} given; {run} has heads of {', '.join(found.names)}"
        )
    head_H = torch.from_numpy(found.folded_KH[found.names.index(config.source)])
    # In fp32 also where the trunk is in bf16, which would make many rewards equal.
    classifier.score.weight = nn.Parameter(head_H[None].float())
