"""What a GPU can do at most, and whether attention over packed answers is right there.

Legend: T tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from engine_process import synchronize
from gpu_models import classifier, usual_dtype
from gpu_settings import CASES, GpuCheck, Shape
from torch import Tensor
from transformers import AttentionInterface

from more_ray.config import ModelConfig
from more_ray.data.layout import Segment
from more_ray.data.packing import PackedAnswers, pack_answers
from more_ray.model.attention import packed_hidden_states
from more_ray.model.reward_model import RewardModel, choose_batch_format

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From query, key and value, each `[1, heads, T, head_dim]`, to `[1, T, heads, head_dim]`."""

ALLOWED = 1e-2
"""Relative error of bf16."""


def device(config: GpuCheck) -> dict[str, Any]:
    found = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    if config.device == "cpu":
        return found
    properties = torch.cuda.get_device_properties(0)
    return found | {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_gib": properties.total_memory / 2**30,
        "processors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),
    }


def matrix_product(config: GpuCheck) -> dict[str, float]:
    """FLOP/s of a product of random numbers in bf16; zeros would be faster."""
    size = config.matrix
    one, two = torch.randn(2, size, size, device=config.device, dtype=torch.bfloat16)
    seconds = _seconds(config, lambda: one @ two)
    return {"tflops": 2 * size**3 / seconds / 1e12}


def copy(config: GpuCheck) -> dict[str, float]:
    """Bytes read and written."""
    source = torch.zeros(config.copy_mib * 2**20, dtype=torch.uint8, device=config.device)
    target = torch.empty_like(source)
    seconds = _seconds(config, lambda: target.copy_(source))
    return {"gb_per_s": 2 * len(source) / seconds / 1e9}


def _seconds(config: GpuCheck, work: Callable[[], Any], times: int = 10) -> float:
    for _ in range(3):
        work()
    synchronize(config.device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    synchronize(config.device)
    return (time.perf_counter() - started) / times


def attention(config: GpuCheck, shape: Shape, case: str) -> dict[str, Any]:
    """The attention that a model runs on the device against plain attention in float64."""
    batch = pack_answers(_answers(CASES[case])).to(config.device)
    heads = shape.sizes["num_attention_heads"]
    grouped = shape.sizes.get("num_key_value_heads", heads)
    width = shape.sizes["hidden_size"] // heads
    implementation, attend = chosen_attention(config, shape, batch)

    tokens = len(batch.input_ids_T)
    dtype = usual_dtype(config)
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(1, tokens, count, width, device=config.device, dtype=dtype, requires_grad=True)
        for count in (heads, grouped, grouped)
    )
    upstream = torch.randn(1, tokens, heads, width, device=config.device, dtype=dtype)
    found = _with_gradients(attend, (query, key, value), upstream)
    right = _with_gradients(
        lambda *inputs: reference(*inputs, batch.segments),
        tuple(one.detach().double().requires_grad_() for one in (query, key, value)),
        upstream.double(),
    )
    errors = {
        name: float(torch.linalg.norm(one.double() - other) / torch.linalg.norm(other))
        for name, one, other in zip(("output", "dq", "dk", "dv"), found, right, strict=True)
    }
    error = max(errors.values())
    return {
        "implementation": implementation,
        "errors": errors,
        "error": error,
        "allowed": ALLOWED,
        "holds": error < ALLOWED,
    }


def chosen_attention(config: GpuCheck, shape: Shape, batch: PackedAnswers) -> tuple[str, Attention]:
    """Name and function of the attention that a model of this shape runs for `batch`.

    What the first block hands to it besides query, key and value is kept, whatever that is.
    """
    one_block = shape.changed(sizes={**shape.sizes, "num_hidden_layers": 1})
    dtype = usual_dtype(config)
    model = RewardModel(classifier(one_block, dtype, config.device))
    choose_batch_format(model, ModelConfig().batch_format)
    name = model.classifier.config._attn_implementation
    registered = AttentionInterface()[name]
    calls = []

    def watched(module: Any, *arguments: Any, **options: Any) -> Any:
        calls.append((module, arguments[3:], options))
        return registered(module, *arguments, **options)

    AttentionInterface.register(name, watched)
    with torch.no_grad():
        packed_hidden_states(model.classifier, batch)
    AttentionInterface.register(name, registered)
    module, others, options = calls[0]
    return name, lambda *inputs: registered(module, *inputs, *others, **options)[0]


def reference(query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment]) -> Tensor:
    """Softmax attention with a mask of T x T; arguments and result as `Attention`."""
    repeats = query.shape[1] // key.shape[1]
    key, value = (one.repeat_interleave(repeats, dim=1) for one in (key, value))
    logits = query @ key.mT * query.shape[-1] ** -0.5
    hidden = ~_visible(segments).to(query.device)
    return (logits.masked_fill(hidden, -torch.inf).softmax(dim=-1) @ value).transpose(1, 2)


def _visible(segments: Sequence[Segment]) -> Tensor:
    """`[T, T]`: whether a token sees another."""
    parts = [torch.tensor(segment.parts) for segment in segments]
    tokens_P = torch.stack([part.sum() for part in parts])
    prompt_T = torch.arange(len(segments)).repeat_interleave(tokens_P)
    answer_T = torch.cat([torch.arange(len(part)).repeat_interleave(part) for part in parts])
    same_answer = (answer_T[:, None] == answer_T) | (answer_T == 0)  # part 0 is what all share
    return ((prompt_T[:, None] == prompt_T) & same_answer).tril()


def _answers(lengths: Sequence[tuple[int, ...]]) -> list[list[list[int]]]:
    """Token lists that share as much as `lengths` says and differ from there on."""
    return [
        [[1] * shared + [2 + number] * own for number, own in enumerate(owns)]
        for shared, *owns in lengths
    ]


def _with_gradients(
    attend: Attention, inputs: tuple[Tensor, ...], upstream: Tensor
) -> tuple[Tensor, ...]:
    """Output and gradients of inputs `[1, T, heads, head_dim]`, as a model's projections are."""
    output = attend(*(one.transpose(1, 2) for one in inputs))
    return output.detach(), *torch.autograd.grad(output, inputs, upstream)
