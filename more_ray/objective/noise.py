"""The sampling noise in squared norms of mean gradients, and Gram matrices without it.

A mean over B pairs has `E ||g||^2 = ||true g||^2 + sigma^2 / B`, so min-norm weights favour sources
whose gradients are quiet.

Legend: K sources, J those whose gradients are more than noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sampling_noise(norm2_K: Floats, mean_square_K: Floats, count_K: Floats) -> Floats:
    """`[K]` unbiased estimates of `sigma^2 / B`: what noise adds to the squared norms `norm2_K`.

    `norm2_K` minus it is `(||sum_b g_b||^2 - sum_b ||g_b||^2) / (B (B - 1))`: the mean inner
    product of the gradients of two different pairs, which may be negative. A pair that is there
    twice, as of a source with fewer than B pairs, counts as two: noise is then underestimated.

    Args:
        mean_square_K: the mean of the squared norms of the pairs' own gradients; of pairs with
            weights w, `sum w^2 ||g_b||^2 / sum w^2`.
        count_K: B, pairs of each source, or `(sum w)^2 / sum w^2`; of a single pair, or none, the
            noise is unknown: NaN.
    """
    several_K = count_K > 1
    noise_K = (mean_square_K - norm2_K) / np.where(several_K, count_K - 1, 1)
    return np.where(several_K, noise_K, np.nan)


def without_noise(gram_KK: Floats, noise_K: Floats) -> Floats:
    """The Gram matrix with unbiased squared norms on its diagonal, as near as one can be.

    Inner products of two sources are unbiased as they are, since their noise is independent. A
    source whose estimate is not above 0 cannot be told from one without a gradient, and counts as
    such: its row and column are 0, and the solver of (9) leaves it out. The matrix of the others
    may be indefinite, so that no gradients have it: it is replaced by the nearest one (in the
    Frobenius norm) that some have, without its negative eigenvalues.

    Args:
        gram_KK: the inner products of the mean gradients.
        noise_K: as `sampling_noise` has it; where it is NaN, nothing is subtracted.
    """
    norm2_K = gram_KK.diagonal() - np.nan_to_num(noise_K)
    heard = np.flatnonzero(norm2_K > 0)
    clean_KK = np.zeros_like(gram_KK)
    if heard.size:
        block = np.ix_(heard, heard)
        part_JJ = gram_KK[block]
        np.fill_diagonal(part_JJ, norm2_K[heard])
        value_J, vector_JJ = np.linalg.eigh(part_JJ)
        clean_KK[block] = (vector_JJ * np.maximum(value_J, 0)) @ vector_JJ.T
    return clean_KK
