"""The ranking loss and its reward-head gradient, in closed form.

Legend: N pairs of this batch, K sources, H hidden size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def ranking_loss(delta_N: Tensor, share_N: Tensor | None = None) -> Tensor:
    """`-log sigmoid(r_w - r_l)` of each pair (1); `delta_N` is reward chosen minus rejected.

    Where a share s of the votes is for the chosen answer, `-s log sigmoid(delta) - (1 - s) log
    sigmoid(-delta)`, which is (1) for s = 1.
    """
    loss_N = -F.logsigmoid(delta_N)
    return loss_N if share_N is None else loss_N + (1 - share_N) * delta_N


def ranking_slope(delta_N: Tensor, share_N: Tensor | None = None) -> Tensor:
    """`sigmoid(delta) - s` of each pair, in fp32: the derivative of its loss by `delta`."""
    slope_N = -torch.sigmoid(-delta_N.float())
    return slope_N if share_N is None else slope_N + (1 - share_N)


def sum_by_source(value_N: Tensor, source_N: Tensor, sources: int) -> Tensor:
    """Sums of `value_N [N, ...]` over the pairs of each source: `[K, ...]`, fp32."""
    # An indexed sum would add in another order at every run on a GPU; a matrix product would carry
    # a number that is not finite into the sums of all sources.
    is_source_KN = torch.arange(sources, device=source_N.device)[:, None] == source_N
    mask_KN = is_source_KN.unflatten(1, (-1, *[1] * (value_N.dim() - 1)))
    return torch.where(mask_KN, value_N.float(), 0.0).sum(dim=1)


def head_gradient_sums(
    slope_N: Tensor, z_chosen_NH: Tensor, z_rejected_NH: Tensor, source_N: Tensor, sources: int
) -> tuple[Tensor, Tensor]:
    """Sum over each source's pairs of the gradient of their losses for the score head.

    For a bias-free head `r = w . z` the gradient of one pair is `slope (z_chosen - z_rejected)`: no
    backward pass and no access to `w`, which ZeRO-3 may have partitioned.

    Args:
        slope_N: the derivative of each pair's loss by its reward difference: `ranking_slope`, times
            the pair's weight.

    Returns:
        `[K, H]` in fp32; divided by the source's count, or the sum of its weights, it is `g_i` of
        (8); and `[K]`, the sums of the squared norms of the pairs' own gradients.
    """
    grad_NH = slope_N[:, None] * (z_chosen_NH.float() - z_rejected_NH.float())
    square_N = grad_NH.square().sum(dim=1)
    grad_KH = sum_by_source(grad_NH, source_N, sources)
    return grad_KH, sum_by_source(square_N, source_N, sources)
