"""Attention over a packed batch, in which the answers of a pair share the prompt.

Every token sees what came before it in its own sequence: the chosen answer sees the shared
tokens and itself, the rejected answer sees the shared tokens and itself, no pair sees another.
No work is spent on padding or on masked-out blocks. Registered with transformers as an attention
implementation, so that any model that uses its attention interface can run it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from more_ray.data.packing import Lengths

PAIRS_ATTENTION = "more_ray_pairs"


def pairs_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    pair_lengths: Sequence[Lengths],
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention of each pair in `[1, heads, T, head_dim]`; returns `[1, T, heads, head_dim]`."""
    options = {"scale": scaling, "dropout_p": dropout, "enable_gqa": query.shape[1] != key.shape[1]}
    # Split once: the backward of a slice fills a tensor of the whole batch, that of a split not.
    cuts = [cut for shared, chosen, rejected in pair_lengths for cut in (shared + chosen, rejected)]
    queries, keys, values = (tensor.split(cuts, dim=2) for tensor in (query, key, value))
    outputs = []
    for pair, (shared, _, rejected) in enumerate(pair_lengths):
        one, other = 2 * pair, 2 * pair + 1
        outputs.append(
            F.scaled_dot_product_attention(
                queries[one], keys[one], values[one], is_causal=True, **options
            )
        )
        visible = torch.ones(
            rejected, shared + rejected, dtype=torch.bool, device=query.device
        ).tril(shared)
        outputs.append(
            F.scaled_dot_product_attention(
                queries[other],
                torch.cat([keys[one][:, :, :shared], keys[other]], dim=2),
                torch.cat([values[one][:, :, :shared], values[other]], dim=2),
                attn_mask=visible,
                **options,
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(PAIRS_ATTENTION, pairs_attention)
