"""AdamW for a model in any precision, which waits for the device once per step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm


class MasterAdamW(torch.optim.Adam):
    """AdamW on fp32 weights; a model in another precision gets rounded copies of them.

    Gradients are summed in fp32, over micro-batches as well. A step whose gradient is not finite is
    skipped: the engine reads `overflow`, counts the step as skipped and holds the learning rate.
    All ranks have the same gradient, so they all skip or none does.

    Args:
        groups: of the model's parameters, each with options of its own.
        clip: largest norm of the whole gradient; 0 turns clipping off.
    """

    overflow = False

    def __init__(self, groups: Sequence[dict[str, Any]], clip: float, **options: Any) -> None:
        parameters: list[nn.Parameter] = [one for group in groups for one in group["params"]]
        self._parameters = parameters
        self._clip = clip
        self._rounded: list[Tensor] = [one for one in parameters if one.dtype is not torch.float32]
        for parameter in self._rounded:
            parameter.grad_dtype = torch.float32
        weights = [
            parameter if parameter.dtype is torch.float32 else parameter.detach().float()
            for parameter in parameters
        ]
        self._masters = [
            weight
            for weight, parameter in zip(weights, parameters, strict=True)
            if weight is not parameter
        ]
        left = iter(weights)
        of_weights = [
            {**group, "params": list(islice(left, len(group["params"])))} for group in groups
        ]
        super().__init__(of_weights, fused=True, **options)

    @torch.no_grad()
    # No closure is ever given: gradients are there when the engine steps.
    def step(self, closure: None = None) -> None:  # ty: ignore[incompatible-method-override]
        norm = get_total_norm([one.grad for one in self._parameters if one.grad is not None])
        self.overflow = not torch.isfinite(norm)  # the one wait for the device
        if self.overflow:
            return
        if self._clip:
            clip_grads_with_norm_(self._parameters, self._clip, norm)
        for master, rounded in zip(self._masters, self._rounded, strict=True):
            master.grad = rounded.grad
        super().step(closure)
        for master in self._masters:
            master.grad = None
        if self._masters:
            torch._foreach_copy_(self._rounded, self._masters)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "masters": self._masters}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        masters = state_dict.get("masters", [])  # earlier versions saved none in fp32
        super().load_state_dict({key: state_dict[key] for key in ("state", "param_groups")})
        for master, saved in zip(self._masters, masters, strict=True):
            master.copy_(saved)
