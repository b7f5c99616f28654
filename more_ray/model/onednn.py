"""Linear layers by oneDNN: in fp32 on AMD processors instead of MKL, in bf16 on any CPU.

PyTorch multiplies fp32 matrices with Intel's MKL, which leaves half of an AMD processor's vectors
unused (AVX2 instead of AVX-512). oneDNN, which comes with PyTorch as well, uses all of them
(`jobs/benchmarks/linear.py`).

For every new number of rows it makes kernels of its own, which takes about a millisecond and a MiB
a layer (same file), so a packed batch is filled up to one of few numbers of tokens.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

LEAST_WEIGHTS = 2**16
"""Of a layer: in a smaller one, calling from Python costs more than is gained."""


@cache
def mkl_is_slow() -> bool:
    """Whether MKL uses half of this processor's vectors."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    cpuinfo = Path("/proc/cpuinfo")
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and cpuinfo.exists()
        and "AuthenticAMD" in cpuinfo.read_text()
    )


def filled_up(tokens: int, model: PreTrainedModel) -> int:
    """How many tokens a batch should have instead: at most 1/32 more, or 7."""
    by_mkl = torch.float64, *(() if mkl_is_slow() else (torch.float32,))
    by_onednn = model.device.type == "cpu" and model.dtype not in by_mkl
    step = max(8, 2 ** (tokens.bit_length() - 6)) if by_onednn else 1
    return -(-tokens // step) * step


def use_onednn(model: nn.Module) -> None:
    """Give the large linear layers of a model this way to compute; their parameters stay."""
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.numel() >= LEAST_WEIGHTS:
            module.__class__ = OneDnnLinear


class OneDnnLinear(nn.Linear):
    """An `nn.Linear`, in fp32 on a CPU multiplied by oneDNN."""

    def forward(self, x: Tensor) -> Tensor:  # ty: ignore[lost-keyword-for-regular-parameter]
        by_onednn = x.dtype is torch.float32 and x.device.type == "cpu" and x.numel()
        if not by_onednn or torch.compiler.is_compiling():
            return super().forward(x)
        y: Tensor = _Product.apply(x, self.weight)
        return y if self.bias is None else y + self.bias


class _Product(torch.autograd.Function):
    """`x W'`, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (y_grad,) = gradients
        for_x, for_weight = ctx.needs_input_grad
        rows = y_grad.reshape(-1, y_grad.shape[-1])
        return (
            _product(y_grad, weight.t()) if for_x else None,
            _product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if for_weight else None,
        )


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
