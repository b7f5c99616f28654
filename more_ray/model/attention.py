"""Attention over a packed batch, in which the answers to a prompt share it.

Every token sees what came before it in its own sequence: an answer sees the shared tokens and
itself, never another answer or another prompt. No work is spent on padding or on masked-out
blocks. Registered with transformers as an attention implementation, so that any model that uses
its attention interface can run it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from more_ray.data.packing import Lengths, PackedAnswers

PACKED_ATTENTION = "more_ray_packed"


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    packed_lengths: Sequence[Lengths],
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention of each answer in `[1, heads, T, head_dim]`; returns `[1, T, heads, head_dim]`.

    Raises:
        ValueError: the model's attention has a window, a soft cap or sinks.
    """
    for other in ("sliding_window", "softcap", "s_aux"):
        if kwargs.get(other) is not None:
            raise ValueError(f"packed attention has no {other}")
    options = {"scale": scaling, "dropout_p": dropout, "enable_gqa": query.shape[1] != key.shape[1]}
    # Split once: the backward of a slice fills a tensor of the whole batch, that of a split not.
    cuts = [cut for shared, first, *others in packed_lengths for cut in (shared + first, *others)]
    parts = zip(*(tensor.split(cuts, dim=2) for tensor in (query, key, value)), strict=True)
    outputs = []
    for shared, _, *others in packed_lengths:
        first_query, first_key, first_value = next(parts)
        outputs.append(
            F.scaled_dot_product_attention(
                first_query, first_key, first_value, is_causal=True, **options
            )
        )
        for own in others:
            own_query, own_key, own_value = next(parts)
            visible = torch.ones(own, shared + own, dtype=torch.bool, device=query.device)
            outputs.append(
                F.scaled_dot_product_attention(
                    own_query,
                    torch.cat([first_key[:, :, :shared], own_key], dim=2),
                    torch.cat([first_value[:, :, :shared], own_value], dim=2),
                    attn_mask=visible.tril(shared),
                    **options,
                )
            )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(PACKED_ATTENTION, packed_attention)


def packed_hidden_states(model: PreTrainedModel, batch: PackedAnswers) -> Tensor:
    """`[T, H]` last hidden states of a model whose attention is `PACKED_ATTENTION`."""
    return model.base_model(
        input_ids=batch.input_ids_T[None],
        position_ids=batch.position_ids_T[None],
        use_cache=False,
        packed_lengths=batch.lengths,
    ).last_hidden_state[0]
