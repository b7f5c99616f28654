"""What `torch.nn.attention.varlen.varlen_attn` computes, in plain torch on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def varlen_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    longest_query: int,
    longest_key: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    """`[T, heads, head_dim]`; causal is aligned to the last query and the last key."""
    assert query_ends.dtype == key_ends.dtype == torch.int32
    outputs = []
    for one, other in zip(query_ends.diff().tolist(), key_ends.diff().tolist(), strict=True):
        assert one <= longest_query
        assert other <= longest_key
        visible = torch.ones(one, other, dtype=torch.bool)
        if window_size == (-1, 0):
            visible = visible.tril(other - one)
        q, query = query[:one], query[one:]
        k, key = key[:other], key[other:]
        v, value = value[:other], value[other:]
        output = F.scaled_dot_product_attention(
            *(part.transpose(0, 1)[None] for part in (q, k, v)),
            attn_mask=visible,
            scale=scale,
            enable_gqa=enable_gqa,
        )
        outputs.append(output[0].transpose(0, 1))
    return torch.cat(outputs)
