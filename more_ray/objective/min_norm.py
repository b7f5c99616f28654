"""The weights of (9): `lam = argmin || sum_i lam_i g_i ||^2` over the simplex.

Both solvers see the gradients only through their Gram matrix, `gram_KK[i, j] = g_i . g_j`, in
float64. Legend: K sources.
"""

from __future__ import annotations

import numpy as np

TOLERANCE = 1e-14
"""Largest duality gap at the end, relative to the largest squared gradient norm."""
MAX_PIVOTS = 30
"""Rounds of block pivoting after which it is assumed to cycle; a thousand sources need about 8."""


def duality_gap(gram_KK: np.ndarray, lam_K: np.ndarray) -> float:
    """`lam . G lam - min_i (G lam)_i`: zero exactly at the minimiser (KKT), never negative."""
    slope_K = gram_KK @ lam_K
    return float(lam_K @ slope_K - slope_K.min())


def active_set(gram_KK: np.ndarray) -> np.ndarray:
    """The exact minimiser, by guessing which sources are active until the KKT conditions hold."""
    gram_KK = gram_KK / gram_KK.diagonal().max()
    lam_K = _block_pivoting(gram_KK)
    return _corrected_frank_wolfe(gram_KK) if lam_K is None else lam_K


def _block_pivoting(gram_KK: np.ndarray) -> np.ndarray | None:
    """All sources that break the KKT conditions change sides at once, until none does.

    Two or three small linear solves are nearly always enough (Portugal, Judice and Vicente, "A
    comparison of block pivoting and interior-point algorithms for linear least squares problems
    with nonnegative variables", 1994). None where it fails: gradients that are affinely dependent
    make the system singular or the guesses cycle.
    """
    active_K = np.ones(len(gram_KK), dtype=bool)
    for _ in range(MAX_PIVOTS):
        active = np.flatnonzero(active_K)
        lam_K = np.zeros(len(gram_KK))
        try:
            lam_K[active] = _minimise_over_affine_hull(gram_KK[np.ix_(active, active)])
        except np.linalg.LinAlgError:
            return None
        slope_K = gram_KK @ lam_K
        level = lam_K @ slope_K
        wrong_K = np.where(active_K, lam_K <= 0, slope_K < level - TOLERANCE)
        if not wrong_K.any():
            return lam_K if level - slope_K.min() <= TOLERANCE else None
        active_K ^= wrong_K
        if not active_K.any():
            return None
    return None


def _minimise_over_affine_hull(gram_AA: np.ndarray) -> np.ndarray:
    """Weights of any sign with sum 1; raises LinAlgError where the system is singular.

    They solve `(G + 1 1^T) y = 1` up to scale: adding `1 1^T` does not move the minimiser on
    `sum(y) = const`, and makes the matrix definite while the gradients are affinely independent.
    """
    weight_A = np.linalg.solve(gram_AA + 1.0, np.ones(len(gram_AA)))
    return weight_A / weight_A.sum()


def _corrected_frank_wolfe(gram_KK: np.ndarray) -> np.ndarray:
    """Frank-Wolfe corrected over its active set: slower, and safe for any gradients.

    Each round takes the Frank-Wolfe vertex and then minimises over the affine hull of all active
    vertices, dropping those whose weight would turn negative (Wolfe, "Finding the nearest point
    in a polytope", 1976). It ends after finitely many rounds, in practice about K.
    """
    active = [int(gram_KK.diagonal().argmin())]
    weight = np.ones(1)
    for _ in range(20 * len(gram_KK)):
        slope_K = gram_KK[:, active] @ weight
        vertex = int(slope_K.argmin())
        gap = weight @ slope_K[active] - slope_K[vertex]
        if gap <= TOLERANCE or vertex in active:
            break
        active.append(vertex)
        weight = np.append(weight, 0.0)
        active, weight = _minimise_over_hull(gram_KK, active, weight)
    lam_K = np.zeros(len(gram_KK))
    lam_K[active] = weight
    return lam_K


def _minimise_over_hull(
    gram_KK: np.ndarray, active: list[int], weight: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """Walk from `weight` to the minimiser over the convex hull of the active vertices."""
    while True:
        # Least squares: the vertices may be dependent to within rounding.
        target = np.linalg.lstsq(
            gram_KK[np.ix_(active, active)] + 1.0, np.ones(len(active)), rcond=None
        )[0]
        target = target / target.sum()
        if (target > 0).all():
            return active, target
        falling = target <= 0
        stride = (weight[falling] / (weight[falling] - target[falling])).min()
        weight = weight + stride * (target - weight)
        keep = weight > 1e-15
        keep[falling & (weight <= weight[falling].min())] = False
        active = [source for source, kept in zip(active, keep, strict=True) if kept]
        weight = weight[keep] / weight[keep].sum()


def frank_wolfe(gram_KK: np.ndarray, iterations: int = 1_000) -> np.ndarray:
    """The paper's plain Frank-Wolfe with exact line search; kept for comparison with it."""
    gram_KK = gram_KK / gram_KK.diagonal().max()
    lam_K = np.full(len(gram_KK), 1 / len(gram_KK))
    for _ in range(iterations):
        slope_K = gram_KK @ lam_K
        vertex = int(slope_K.argmin())
        gap = lam_K @ slope_K - slope_K[vertex]
        if gap <= TOLERANCE:
            break
        # || (1 - s) u + s v ||^2 is least at s = u . (u - v) / || u - v ||^2.
        distance = lam_K @ slope_K - 2 * slope_K[vertex] + gram_KK[vertex, vertex]
        stride = min(gap / distance, 1.0)
        lam_K *= 1 - stride
        lam_K[vertex] += stride
    return lam_K


SOLVERS = {"active_set": active_set, "frank_wolfe": frank_wolfe}


def min_norm_weights(gram_KK: np.ndarray, solver: str = "active_set") -> np.ndarray:
    """lam of (9), for any Gram matrix.

    A source whose gradient is zero (or lost in rounding next to the largest) or not finite gets
    weight 0: the minimiser would give all weight to a zero gradient and the step would learn
    nothing. Where no source is left the weights are uniform.

    Args:
        gram_KK: `[K, K]` inner products of the sources' gradients.

    Returns:
        `[K]` float64, non-negative, sum 1.
    """
    gram_KK = np.asarray(gram_KK, dtype=np.float64)
    sources = len(gram_KK)
    square_K = gram_KK.diagonal()
    finite_K = np.isfinite(square_K)
    largest = square_K[finite_K].max(initial=0.0)
    usable = np.flatnonzero(finite_K & (square_K > 1e-24 * largest))
    if usable.size == 0:
        return np.full(sources, 1 / sources)
    lam_K = np.zeros(sources)
    lam_K[usable] = SOLVERS[solver](gram_KK[np.ix_(usable, usable)])
    return lam_K
