"""Compile the blocks of a model: fewer, larger kernels, which pay off where a model is small."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from more_ray.errors import ModelError
from more_ray.model.architecture import blocks


def compile_blocks(model: PreTrainedModel) -> None:
    """Compile each block at its first call, except the last, which computes the scored tokens only.

    Attention is not compiled. The number of tokens may differ from call to call.

    Raises:
        ModelError: the model does not keep its blocks in a list.
    """
    number = blocks(model.config)
    lists = [
        module
        for module in model.base_model.modules()
        if isinstance(module, nn.ModuleList) and len(module) == number
    ]
    if not lists:
        raise ModelError(
            f"train.compile: {type(model).__name__} does not keep its blocks in a list"
        )
    for block in lists[0][:-1]:
        block.compile(dynamic=True)
