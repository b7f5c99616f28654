"""A shared head and a drift for each source, fitted to the optimum of equation (4).

    sum_i s_i mean_i L(dz (w + d_i)) + a0/2 |w - w0|^2 + a1/2 sum_i |d_i|^2

is strictly convex for a0, a1 > 0, so its optimum is one point, also for pairs that a head separates
perfectly. L-BFGS comes near it, Newton steps solved by conjugate gradients end it, both scipy's
and both in `Coordinates`.

Legend: N pairs, K sources, H hidden size, U = (K + 1) H coordinates.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg

from more_ray.calibrate.coordinates import Coordinates, Spectrum, pooled_spectrum
from more_ray.calibrate.objective import curvature_times, loss_and_gradient
from more_ray.calibrate.pairs import Floats, Pairs
from more_ray.errors import UserError
from more_ray.model.heads_file import Heads, Ridge

NEAR = 1e-5
"""Largest component of the gradient, in `Coordinates`, at which Newton steps take over: the
objective is then within about 1e-8 of its least value."""
NEAR_ENOUGH = 1e-4
"""The same where no Newton steps follow: within about 1e-6, which decides nothing that a cross-
validated NLL could."""
SLIGHTLY, ROUNDING = 1e-4, 1e-13
"""A Newton step is halved until the objective falls by this part of what its slope promises, less
what rounding makes."""
NEWTON_STEPS = 50
"""Two or three are usual; separable pairs with a tiny ridge need about twenty."""


def fit_heads(
    pairs: Pairs,
    ridge: Ridge,
    prior_H: Floats | None = None,
    start: Heads | None = None,
    spectrum: Spectrum | None = None,
    tolerance: float = 1e-8,
) -> Heads:
    """The heads at which the objective is least.

    Args:
        prior_H: `w0`, what the shared head is pulled to; 0 where it is not given.
        start: heads of similar settings, to begin from.
        spectrum: `pooled_spectrum` of these or similar pairs; it only saves the time to make it.
        tolerance: Euclidean norm of the gradient for (w, d_1, ..., d_K) at the end, at the most;
            `inf` leaves the Newton steps out.

    Raises:
        UserError: drifts of a single source, or ridges that are not above 0.
    """
    if not (ridge.shared > 0 and ridge.drift > 0):
        raise UserError(f"ridges must be above 0, not {ridge.shared:g} and {ridge.drift:g}")
    if np.isfinite(ridge.drift) and len(pairs.names) < 2:
        raise UserError(f"drifts need two sources or more; there is only {pairs.names[0]!r}")
    hidden = pairs.dz_NH.shape[1]
    prior_H = np.zeros(hidden) if prior_H is None else prior_H
    start = start or Heads(prior_H, np.zeros((len(pairs.names), hidden)))
    problem = _Problem(pairs, ridge, prior_H, spectrum or pooled_spectrum(pairs))
    u_U = problem.coordinates.point(start.shared_H, start.drift_KH)
    # Where a start is the optimum already, rounding can keep L-BFGS from any step: no error.
    near = NEAR if np.isfinite(tolerance) else NEAR_ENOUGH
    limits = {"gtol": near, "ftol": 0.0, "maxiter": 10_000, "maxfun": 20_000}
    u_U = minimize(problem.value_and_gradient, u_U, jac=True, method="L-BFGS-B", options=limits).x
    if np.isfinite(tolerance):
        u_U = problem.ended(u_U, tolerance)
    return Heads(*problem.coordinates.heads(u_U))


class _Problem:
    """The objective in `Coordinates`."""

    def __init__(self, pairs: Pairs, ridge: Ridge, prior_H: Floats, spectrum: Spectrum) -> None:
        self.pairs, self.ridge, self.prior_H = pairs, ridge, prior_H
        self.coordinates = Coordinates(spectrum, pairs.share_K, ridge.shared, ridge.drift)

    def value_and_gradient(self, u_U: Floats) -> tuple[float, Floats]:
        value, grad_H, grad_KH, _ = self._at(u_U)
        return value, self.coordinates.gradient(grad_H, grad_KH)

    def ended(self, u_U: Floats, tolerance: float) -> Floats:
        """Newton steps until the gradient's norm is at most `tolerance`."""
        at = self._at(u_U)
        for _ in range(NEWTON_STEPS):
            value, grad_H, grad_KH, bend_N = at
            norm = np.sqrt((grad_H**2).sum() + (grad_KH**2).sum())
            if norm <= tolerance:
                return u_U
            hessian = LinearOperator(
                (len(u_U), len(u_U)), matvec=lambda v_U, bend_N=bend_N: self._times(bend_N, v_U)
            )
            downhill_U = -self.coordinates.gradient(grad_H, grad_KH)
            # A Newton step's own error is of second order, so no more than three digits are worth
            # their passes, and the last step needs only what the tolerance asks for.
            step_U = cg(hessian, downhill_U, rtol=max(1e-3, 0.1 * tolerance / norm))[0]
            at, step_U = self._down(u_U, step_U, value, float(downhill_U @ step_U))
            u_U = u_U + step_U
        raise UserError(
            f"heads do not converge: the gradient's norm is {norm:.1e} after {NEWTON_STEPS} Newton "
            f"steps; scale the features down or raise the ridges"
        )

    def _down(
        self, u_U: Floats, step_U: Floats, value: float, promised: float
    ) -> tuple[tuple[float, Floats, Floats, Floats], Floats]:
        """The objective after the step, and the step, halved until it leads down enough.

        Pairs that a head can separate are nearly flat, and a whole step may go far beyond.
        """
        part = 1.0
        while True:
            at = self._at(u_U + part * step_U)
            if at[0] <= value - SLIGHTLY * part * promised + ROUNDING * abs(value) or part < 1e-9:
                return at, part * step_U
            part /= 2

    def _at(self, u_U: Floats) -> tuple[float, Floats, Floats, Floats]:
        heads = Heads(*self.coordinates.heads(u_U))
        return objective(self.pairs, self.ridge, self.prior_H, heads)

    def _times(self, bend_N: Floats, v_U: Floats) -> Floats:
        """The Hessian times a direction."""
        w_H, d_KH = self.coordinates.heads(v_U)
        data_KH = curvature_times(self.pairs, bend_N, w_H + d_KH)
        shared_H = data_KH.sum(axis=0) + self.ridge.shared * w_H
        return self.coordinates.gradient(shared_H, _held(data_KH, self.ridge, d_KH))


def objective(
    pairs: Pairs, ridge: Ridge, prior_H: Floats, heads: Heads
) -> tuple[float, Floats, Floats, Floats]:
    """The objective at `heads`, its gradients for w `[H]` and the drifts `[K, H]`, and bends `[N]`.

    The bends are what `curvature_times` takes. With an infinite drift ridge the drifts, held at
    zero, have gradient zero.
    """
    value, data_KH, bend_N = loss_and_gradient(pairs, heads.own_KH)
    from_prior_H = heads.shared_H - prior_H
    value += ridge.shared / 2 * float(from_prior_H @ from_prior_H)
    if np.isfinite(ridge.drift):
        value += ridge.drift / 2 * float((heads.drift_KH**2).sum())
    grad_H = data_KH.sum(axis=0) + ridge.shared * from_prior_H
    return value, grad_H, _held(data_KH, ridge, heads.drift_KH), bend_N


def _held(data_KH: Floats, ridge: Ridge, drift_KH: Floats) -> Floats:
    """What the loss and the ridge together say of the drifts; nothing where they are held at 0."""
    if np.isinf(ridge.drift):
        return np.zeros_like(data_KH)
    return data_KH + ridge.drift * drift_KH
