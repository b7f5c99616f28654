"""The head of one population, in the place of the shared one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from more_ray import storage
from more_ray.config import ModelConfig
from more_ray.errors import ModelError
from more_ray.model.architecture import blocks
from more_ray.model.heads_file import read_heads, sources_of
from more_ray.model.location import shape_of
from more_ray.model.trunk_digest import trunk_digest
from more_ray.run_folder import HEADS, run_of


def check_source(config: ModelConfig) -> None:
    """Check that the model's run has a head of `config.source`, before the model is loaded.

    Raises:
        ModelError: the model lies in no run with several heads, or there is no such source.
    """
    names = sources_of(_required(config))
    if config.source not in names:
        raise ModelError(
            f"model.source: {config.source} given; {config.path} has heads of {', '.join(names)}"
        )


def use_head_of(classifier: PreTrainedModel, config: ModelConfig) -> None:
    """Give the model the head of `config.source`, from the `heads.safetensors` of its run.

    Raises:
        ModelError: as `check_source`, or the heads are of another trunk.
    """
    check_source(config)
    hidden_size = classifier.score.weight.shape[1]
    found = read_heads(_required(config), trunk_digest(classifier), hidden_size)
    head_H = torch.from_numpy(found.folded_KH[found.names.index(config.source)])
    # In fp32 also where the trunk is in bf16, which would make many rewards equal.
    classifier.score.weight = nn.Parameter(head_H[None].float())


def heads_file(config: ModelConfig) -> Path | None:
    """The `heads.safetensors` of the model's run; None where there is none, and where
    `config.layers` cuts the trunk that they are of."""
    run = run_of(config.path)
    if run is None or not storage.exists(storage.join(run, HEADS)) or _is_cut(config):
        return None
    return Path(run, HEADS)


def _is_cut(config: ModelConfig) -> bool:
    return config.layers is not None and config.layers < blocks(shape_of(config))


def _required(config: ModelConfig) -> Path:
    path = heads_file(config)
    if path is None and _is_cut(config):
        raise ModelError(
            f"model.layers: {config.layers} given; the head of model.source is of all layers"
        )
    if path is None:
        raise ModelError(
            f"model.source: {config.source} given; {config.path} has no {HEADS} beside it; "
            "allowed: the model of a calibration, or of a run with model.heads=shared+drift"
        )
    return path
