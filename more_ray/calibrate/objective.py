"""The loss of heads on pairs, its gradient and curvature: one pass over the features each.

Pair n of source i has the reward difference `delta = dz (w + d_i)`, by equation (4), and the loss

    L = -y log sigmoid(delta) - (1 - y) log sigmoid(-delta)

with the probability y that its first answer is the better one; for y = 1 this is (1). A pair counts
`pairs.count_N`, so that the sum over all pairs is `sum_i s_i mean_i L`, equation (7).

Legend: N pairs, K sources, H hidden size, B pairs of a block.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from more_ray.calibrate.pairs import Floats, Ints, Pairs

GRAM_BLOCK = 2**22
"""Numbers of a block for a matrix product, where a larger one is faster: 32 MB."""


def differences(dz_NH: NDArray[np.floating], source_N: Ints, head_KH: Floats) -> Floats:
    """`[N]` reward differences, each pair's by the head of its source."""
    size = max(1, GRAM_BLOCK // dz_NH.shape[1])
    blocks = (slice(first, first + size) for first in range(0, len(dz_NH), size))
    # All heads at once: K columns cost little, and the features are read only once anyway.
    return np.concatenate(
        [
            np.take_along_axis(dz_NH[rows] @ head_KH.T, source_N[rows, None], axis=1)[:, 0]
            for rows in blocks
        ]
    )


def loss(delta_N: Floats, label_N: Floats) -> Floats:
    """`[N]` losses L of reward differences."""
    return np.logaddexp(0.0, -delta_N) + (1 - label_N) * delta_N


def loss_and_gradient(pairs: Pairs, head_KH: Floats) -> tuple[float, Floats, Floats]:
    """The summed loss, its gradient for each source's head `[K, H]`, and its slope's slope `[N]`.

    The last is `count sigmoid(delta) sigmoid(-delta)`, what `curvature_times` takes.
    """

    def slope(row_B: Ints, delta_B: Floats) -> Floats:
        return pairs.count_N[row_B] * (expit(delta_B) - pairs.label_N[row_B])

    delta_N, grad_KH = _one_pass(pairs, head_KH, slope)
    total = float(pairs.count_N @ loss(delta_N, pairs.label_N))
    return total, grad_KH, pairs.count_N * expit(delta_N) * expit(-delta_N)


def curvature_times(pairs: Pairs, bend_N: Floats, direction_KH: Floats) -> Floats:
    """`[K, H]`: each source's Hessian `sum_n bend_n dz dz^T` times its own direction."""
    return _one_pass(pairs, direction_KH, lambda row_B, step_B: bend_N[row_B] * step_B)[1]


def curvature(pairs: Pairs, bend_N: Floats, row_n: Ints) -> Floats:
    """`[H, H]`: `sum_n bend_n dz dz^T` over some rows."""
    hidden = pairs.dz_NH.shape[1]
    size = max(1, GRAM_BLOCK // hidden)
    total_HH = np.zeros((hidden, hidden))
    for first in range(0, len(row_n), size):
        row_B = row_n[first : first + size]
        scaled_BH = np.sqrt(bend_N[row_B])[:, None] * pairs.dz_NH[row_B]
        total_HH += scaled_BH.T @ scaled_BH
    return total_HH


def _one_pass(
    pairs: Pairs, head_KH: Floats, factor: Callable[[Ints, Floats], Floats]
) -> tuple[Floats, Floats]:
    """`dz h_i` of all pairs that count, and `sum_n factor(dz h_i) dz` of each source."""
    product_N = np.zeros(len(pairs.dz_NH))
    sum_KH = np.zeros_like(head_KH)
    for source, row_B, dz_BH in pairs.blocks():
        product_N[row_B] = dz_BH @ head_KH[source]
        sum_KH[source] += factor(row_B, product_N[row_B]) @ dz_BH
    return product_N, sum_KH
