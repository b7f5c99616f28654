"""Coordinates in which the objective's Hessian is nearly the identity, so that few passes do.

Hidden states are far from round: a few directions are hundreds of times as long as the others, and
in plain coordinates a fit needs hundreds of passes over the features. Suppose that all sources'
features had the pooled curvature at zero rewards, `G = 1/4 sum_n count_n dz dz^T`, in the
proportions s_i. Along each eigenvector of G, with eigenvalue l, the Hessian for (w, d_1, ..., d_K)
is then an arrow: `s_i l + a1` for d_i, `s_i l` between d_i and w, `l + a0` for w. Its Cholesky
factor has a closed form, so the change of coordinates costs two products with the eigenvectors.
Where the supposition is wrong, only the number of passes is larger.

Legend: K sources, H hidden size, U = (K + 1) H coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from more_ray.calibrate.objective import curvature
from more_ray.calibrate.pairs import Floats, Pairs

ROWS_PER_FEATURE = 8
"""Pairs for each of the H features that G is estimated by: eigenvalues are then within a factor of
about two, and N = 200,000, H = 4,096 takes a sixth of the time."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues `[H]` and eigenvectors `[H, H]` (columns) of G: the same for every ridge."""

    value_H: Floats
    vector_HH: Floats


def pooled_spectrum(pairs: Pairs) -> Spectrum:
    """The spectrum of the pairs' pooled curvature, from at most 8 H pairs evenly spread."""
    counting = np.flatnonzero(pairs.count_N)
    every = max(1, len(counting) // (ROWS_PER_FEATURE * pairs.dz_NH.shape[1]))
    row_n = counting[::every]
    bend_N = pairs.count_N / (4 * pairs.count_N[row_n].sum())
    value_H, vector_HH = np.linalg.eigh(curvature(pairs, bend_N, row_n))
    return Spectrum(np.maximum(value_H, 0.0), vector_HH)


class Coordinates:
    """`x = (w, d_1, ..., d_K)` to `u = L^T x` and back, L the Cholesky factor of the arrow.

    With `drift_ridge` infinite every drift is held at zero, and its coordinates do nothing.
    """

    def __init__(
        self, spectrum: Spectrum, share_K: Floats, shared_ridge: float, drift_ridge: float
    ) -> None:
        self.vector_HH = spectrum.vector_HH
        curvature_KH = share_K[:, None] * spectrum.value_H
        self.inverse_KH = 1 / np.sqrt(curvature_KH + drift_ridge)
        self.carried_KH = curvature_KH / (curvature_KH + drift_ridge)
        # What is left of a source's curvature for w once its drift has taken what it likes.
        left_KH = curvature_KH / (1 + curvature_KH / drift_ridge)
        self.inverse_H = 1 / np.sqrt(shared_ridge + left_KH.sum(axis=0))

    def heads(self, u_U: Floats) -> tuple[Floats, Floats]:
        """`w` `[H]` and `d` `[K, H]` at u: `L^-T u`."""
        u_KH = u_U.reshape(-1, len(self.inverse_H))
        w_H = u_KH[0] * self.inverse_H
        d_KH = u_KH[1:] * self.inverse_KH - w_H * self.carried_KH
        return self.vector_HH @ w_H, d_KH @ self.vector_HH.T

    def gradient(self, grad_H: Floats, grad_KH: Floats) -> Floats:
        """The gradient for u `[U]` from that for w and the drifts: `L^-1` times it."""
        grad_H, grad_KH = grad_H @ self.vector_HH, grad_KH @ self.vector_HH
        along_H = (grad_H - (grad_KH * self.carried_KH).sum(axis=0)) * self.inverse_H
        return np.concatenate([along_H, (grad_KH * self.inverse_KH).ravel()])

    def point(self, w_H: Floats, d_KH: Floats) -> Floats:
        """u `[U]` of heads; the inverse of `heads`."""
        w_H, d_KH = w_H @ self.vector_HH, d_KH @ self.vector_HH
        u_KH = np.divide(
            d_KH + w_H * self.carried_KH,
            self.inverse_KH,
            out=np.zeros_like(d_KH),
            where=self.inverse_KH > 0,
        )
        return np.concatenate([w_H / self.inverse_H, u_KH.ravel()])
