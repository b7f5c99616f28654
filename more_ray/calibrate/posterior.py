"""How sure the heads are: a Gaussian about them (Laplace), and the probabilities that follow.

**What one observation is.** The objective of `heads.py` is a weighted mean, in which pair n counts
`c_n`, sum 1; a likelihood is a sum over independent pairs. Where every pair counts the same
(proportional shares), N times the objective is the negative log posterior of N pairs with the
priors `w ~ N(w0, 1/(N a0))` and `d_i ~ N(0, 1/(N a1))`. Otherwise N becomes the number of equal
pairs whose mean scatters as much as the weighted one (Kish, "Survey Sampling", 1965),

    n = 1 / sum_n c_n^2,    of source i alone  n_i = (sum u)^2 / sum u^2,

and no factor makes the objective a likelihood: the pairs of source i count `s_i / n_i` each, which
may be more or less than `1 / n`. A source of 50 pairs that counts like one of 1,000 follows its
labels' noise further. So the covariance is that of the error that the optimum makes, where labels
scatter as n_i independent pairs of each source do and the heads are drawn from the priors above
(with n). For equal counts that is the inverse Hessian of the negative log posterior exactly. A
share of votes counts as one observation, as noisy as a single label: of many votes a pair, heads
are surer than this says.

**The Gaussian.** Let `H_i = sum_{n in i} c_n sigmoid(delta) sigmoid(-delta) dz dz^T`,
`G_i = a1 (H_i + a1)^-1`, `C_i = 1 - G_i` and `t_i = s_i / n_i`, `t = 1 / n`. The gradient at the
truth is noise: `e_i`, with covariance `t_i H_i`, of source i's pairs, for its drift and for w;
`t a1` of each drift's prior, `t a0` of w's. One Newton step, with the drifts eliminated, gives

    S            = a0 + sum_i a1 C_i
    cov(w)       = S^-1 (t a0 + sum_i a1 (t_i G_i + t C_i) C_i) S^-1
    cov(w + d_i) = G_i (cov(w) + (t_i - t) (S^-1 C_i + C_i S^-1)) G_i + (t_i C_i + t G_i) G_i / a1

and for `t_i = t` just `cov(w) = t S^-1`, `cov(w + d_i) = t G_i / a1 + G_i cov(w) G_i`: the shared
head as prior mean, and how unsure that is. S is not `a0 + sum_i H_i`, as it would be if the drifts
were known. Without drifts (a1 infinite) `cov(w) = S^-1 (t a0 + sum_i t_i H_i) S^-1` with
`S = a0 + sum_i H_i`, and all heads are w.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cholesky, lapack

from more_ray.calibrate.objective import GRAM_BLOCK, curvature, loss_and_gradient
from more_ray.calibrate.pairs import Floats, Pairs
from more_ray.model.heads_file import Heads, Posterior, Ridge


def laplace(pairs: Pairs, heads: Heads, ridge: Ridge) -> Posterior:
    """The posterior of the shared head and of every own one, at the optimum `heads`.

    Memory: K and about six matrices `[H, H]` (134 MB each for H = 4,096).
    """
    parts = _eliminated(pairs, heads, ridge)
    shared_HH = cholesky(parts.shared_HH, lower=True)
    if np.isinf(ridge.drift):
        own_KHH = np.broadcast_to(shared_HH, (len(pairs.names), *shared_HH.shape))
        return Posterior(shared_HH, own_KHH)
    scatter_K, scatter = _scatter(pairs)
    for source, held_HH in enumerate(parts.held_KHH):
        free_HH = np.eye(len(held_HH)) - held_HH
        together_HH = (scatter_K[source] - scatter) * (parts.inverse_HH @ free_HH)
        own_HH = held_HH @ (parts.shared_HH + together_HH + together_HH.T) @ held_HH
        own_HH += (scatter_K[source] * free_HH + scatter * held_HH) @ held_HH / ridge.drift
        parts.held_KHH[source] = cholesky(own_HH, lower=True)
    return Posterior(shared_HH, parts.held_KHH)


def shared_laplace(pairs: Pairs, heads: Heads, ridge: Ridge) -> Floats:
    """`[H, H]`, the factor of the shared head alone."""
    return cholesky(_eliminated(pairs, heads, ridge).shared_HH, lower=True)


@dataclass(frozen=True)
class _Eliminated:
    held_KHH: Floats
    """`G_i`; none without drifts."""
    inverse_HH: Floats
    """`S^-1`."""
    shared_HH: Floats
    """`cov(w)`."""


def _eliminated(pairs: Pairs, heads: Heads, ridge: Ridge) -> _Eliminated:
    hidden, sources = len(heads.shared_H), len(pairs.names)
    drifts = np.isfinite(ridge.drift)
    scatter_K, scatter = _scatter(pairs)
    bend_N = loss_and_gradient(pairs, heads.own_KH)[2]
    held_KHH = np.empty((sources if drifts else 0, hidden, hidden))
    precision_HH = ridge.shared * np.eye(hidden)
    noise_HH = scatter * precision_HH
    for source in range(sources):
        row_n = np.flatnonzero((pairs.source_N == source) & (pairs.count_N > 0))
        hessian_HH = curvature(pairs, bend_N, row_n)
        if not drifts:
            precision_HH += hessian_HH
            noise_HH += scatter_K[source] * hessian_HH
            continue
        hessian_HH.flat[:: hidden + 1] += ridge.drift
        held_HH = held_KHH[source] = ridge.drift * _inverse(hessian_HH)
        free_HH = np.eye(hidden) - held_HH
        precision_HH += ridge.drift * free_HH
        mixed_HH = scatter_K[source] * held_HH + scatter * free_HH
        noise_HH += ridge.drift * (mixed_HH @ free_HH)
    inverse_HH = _inverse(precision_HH)
    return _Eliminated(held_KHH, inverse_HH, inverse_HH @ noise_HH @ inverse_HH)


def _scatter(pairs: Pairs) -> tuple[Floats, float]:
    """`t_i` `[K]` and `t`: squared errors of means over the pairs of a source, and over all."""
    used_K = pairs.share_K > 0
    scatter_K = np.where(used_K, pairs.share_K / pairs.effective_K, 1 / pairs.effective)
    return scatter_K, 1 / pairs.effective


def _inverse(matrix_HH: Floats) -> Floats:
    """The inverse of a positive definite matrix, exactly symmetric."""
    factor_HH, _ = cho_factor(matrix_HH, lower=True, check_finite=False)
    lower_HH = np.tril(lapack.dpotri(factor_HH, lower=True)[0])
    return lower_HH + np.tril(lower_HH, -1).T


def variances(dz_NH: NDArray[np.floating], factor_HH: Floats) -> Floats:
    """`[N]` variances `dz^T cov dz` of reward differences by a head with that factor."""
    size = max(1, GRAM_BLOCK // dz_NH.shape[1])
    return np.concatenate(
        [
            ((dz_NH[first : first + size] @ factor_HH) ** 2).sum(axis=1)
            for first in range(0, len(dz_NH), size)
        ]
    )


def widened(delta_N: Floats, variance_N: Floats) -> Floats:
    """`[N]`: `delta / sqrt(1 + pi variance / 8)`, reward differences drawn towards 0 by doubt.

    Its sigmoid is nearly the mean of `sigmoid(x)` over normal x of that mean and variance (MacKay,
    "The evidence framework applied to classification networks", 1992).
    """
    return delta_N / np.sqrt(1 + np.pi / 8 * variance_N)
