"""Attention over a packed batch, in which the answers to a prompt share its tokens.

Every token sees what came before it in its own sequence: an answer sees the shared tokens and
itself, never another answer or another prompt. No work is spent on padding or on masked-out
blocks. Registered with transformers as attention implementations, so that any model that uses
its attention interface can run them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel

from more_ray.data.layout import Layout
from more_ray.data.packing import PackedAnswers
from more_ray.model.onednn import filled_up
from more_ray.model.prompt_cache import Beginning

# cuDNN prepares a kernel for every new shape, and nearly every prompt has a new shape.
torch.backends.cuda.enable_cudnn_sdp(False)

PACKED_ATTENTION = "more_ray_packed"
"""A call per answer, which works on any device and in any precision."""
VARLEN_ATTENTION = "more_ray_varlen"
"""One call for all answers, which needs a GPU and half precision."""

# torch 2.11 takes fewer heads of keys without being told.
_GROUPED: dict[str, Any] = (
    {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}
)


@torch.compiler.disable
def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    packed: Layout,
    beginnings: Sequence[Beginning] = (),
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention of each answer in `[1, heads, T, head_dim]`; returns `[1, T, heads, head_dim]`.

    Tokens after the last answer fill the batch up; they see nothing.

    Args:
        beginnings: how each segment begins; empty where no prompt is kept.

    Raises:
        ValueError: the model's attention has a window, a soft cap or sinks.
    """
    _check(kwargs)
    dtype = query.dtype
    half = dtype in (torch.bfloat16, torch.float16)
    if half and query.requires_grad and query.device.type == "cpu":  # slow backward
        query, key, value = query.float(), key.float(), value.float()
    attend = partial(
        F.scaled_dot_product_attention,
        scale=scaling,
        dropout_p=dropout,
        enable_gqa=query.shape[1] != key.shape[1],
    )

    def attend_last(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Of the last tokens only; every key may be that of an earlier token."""
        own, seen = query.shape[2], key.shape[2]
        visible = torch.ones(own, seen, dtype=torch.bool, device=query.device)
        return attend(query, key, value, attn_mask=visible.tril(seen - own))

    # Split once: the backward of a slice fills a tensor of the whole batch, that of a split not.
    cuts = [
        tokens
        for shared, (first, *further) in packed.segments
        for tokens in (shared + first, *further)
    ]
    filling = query.shape[2] - sum(cuts)
    parts = zip(
        *(tensor.split([*cuts, filling], dim=2) for tensor in (query, key, value)), strict=True
    )
    outputs = []
    for (shared, (_, *further)), beginning in zip_longest(packed.segments, beginnings):
        first_query, first_key, first_value = next(parts)
        if beginning is not None:
            first_key, first_value = beginning.seen(first_key, first_value)
            shared += beginning.before
        if first_query.shape[2] == first_key.shape[2]:
            outputs.append(attend(first_query, first_key, first_value, is_causal=True))
        else:
            outputs.append(attend_last(first_query, first_key, first_value))
        for _ in further:
            own_query, own_key, own_value = next(parts)
            seen_key = torch.cat([first_key[:, :, :shared], own_key], dim=2)
            seen_value = torch.cat([first_value[:, :, :shared], own_value], dim=2)
            outputs.append(attend_last(own_query, seen_key, seen_value))
    outputs.append(torch.zeros_like(next(parts)[0]))
    return torch.cat(outputs, dim=2).to(dtype).transpose(1, 2).contiguous(), None


@torch.compiler.disable
def varlen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    packed: Layout,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """As `packed_attention`, in one kernel call on the gathered keys and values of all answers."""
    if dropout:  # the kernel has none
        return packed_attention(
            module, query, key, value, None, scaling, dropout, packed=packed, **kwargs
        )
    _check(kwargs)
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    output = varlen_attn(
        query,
        Seen.apply(key, packed),
        Seen.apply(value, packed),
        packed.query_ends,
        packed.key_ends,
        _rounded_up(packed.longest_query),
        _rounded_up(packed.longest_key),
        scale=scaling,
        window_size=(
            -1,
            0,
        ),  # causal: an answer's last token sees all keys that were gathered for it
        **(_GROUPED if query.shape[1] != key.shape[1] else {}),
    )
    return cast(Tensor, output)[None], None  # a tuple with `return_aux` only


class Seen(torch.autograd.Function):
    """Gathers the rows of `[T, ...]` that the answers see into `[R, ...]`.

    The gradient is deterministic: no kernel adds up duplicates in arbitrary order.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, packed: Layout) -> Tensor:
        ctx.packed = packed
        return value.index_select(0, packed.seen_R)

    # Torch gives a gradient per output; its stub asks for any number.
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # ty: ignore[incompatible-method-override]
        total = grad.index_select(0, ctx.packed.first_copy_T)
        for copies in ctx.packed.further_copies:
            total.index_add_(0, copies.token, grad.index_select(0, copies.position))
        return total, None


def _rounded_up(length: int) -> int:
    """Round up to a multiple of 128: kernels may be compiled for every new length."""
    return -(-length // 128) * 128


def _check(kwargs: dict[str, object]) -> None:
    for option in ("sliding_window", "softcap", "s_aux"):
        if kwargs.get(option) is not None:
            raise ValueError(f"packed attention does not support {option}")


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionInterface.register(VARLEN_ATTENTION, varlen_attention)


def packed_hidden_states(
    model: PreTrainedModel, batch: PackedAnswers, beginnings: Sequence[Beginning] = ()
) -> Tensor:
    """`[T, H]` last hidden states of a model with one of these attentions.

    Args:
        beginnings: as in `packed_attention`, which alone can read and keep prompts. The batch has
            no tokens of a prompt that is continued.
    """
    input_ids_T, position_ids_T = batch.input_ids_T, batch.position_ids_T
    if beginnings:
        before_P = torch.tensor([one.before if one else 0 for one in beginnings])
        tokens_P = torch.tensor([sum(segment.parts) for segment in batch.segments])
        position_ids_T = position_ids_T + before_P.repeat_interleave(tokens_P).to(
            position_ids_T.device
        )
    tokens = len(input_ids_T)
    filling = filled_up(tokens, model) - tokens
    if filling and model.config._attn_implementation == PACKED_ATTENTION:
        input_ids_T, position_ids_T = (
            F.pad(one, (0, filling)) for one in (input_ids_T, position_ids_T)
        )
    return model.base_model(
        input_ids=input_ids_T[None],
        position_ids=position_ids_T[None],
        use_cache=False,
        packed=batch.layout,
        beginnings=beginnings,
    ).last_hidden_state[0, :tokens]
