"""Blocks of a model as compiled code: fewer, larger kernels, which pay where a model is small."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from more_ray.errors import ModelError
from more_ray.model.architecture import blocks


def compile_blocks(model: PreTrainedModel) -> None:
    """Compile each block at its first call, except the last, which computes the scored tokens only.

    Attention stays as it is. The number of tokens may differ from call to call.

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
        raise ModelError(f"train.compile: {type(model).__name__} keeps its blocks in no list")
    for block in lists[0][:-1]:
        block.compile(dynamic=True)
