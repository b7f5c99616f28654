"""Weights of the sources, lam: solved each step (MORE) or known beforehand.

Legend: K sources, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from more_ray.config import ObjectiveConfig
from more_ray.objective.min_norm import min_norm_weights

Floats = NDArray[np.float64]


class Weighting(Protocol):
    """lam from the mean head gradient and loss of each source that the batch holds."""

    def weights(self, grad_KH: Floats, loss_K: Floats, present_K: NDArray[np.bool_]) -> Floats:
        """`[K]` float64 on the simplex; 0 for sources that are not `present_K`."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


@dataclass
class Fixed:
    """The same lam at every step: uniform, proportional or given."""

    lam_K: np.ndarray

    def weights(self, grad_KH: Floats, loss_K: Floats, present_K: NDArray[np.bool_]) -> Floats:
        lam_K = np.where(present_K, self.lam_K, 0.0)
        return lam_K / lam_K.sum()

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass


@dataclass
class MinNorm:
    """MORE: the minimiser of (9) over normalised, optionally averaged head gradients."""

    normalize: str = "none"
    momentum: float = 0.0
    solver: str = "active_set"
    average_KH: Floats | None = field(default=None, init=False)
    seen_K: NDArray[np.bool_] | None = field(default=None, init=False)

    def weights(self, grad_KH: Floats, loss_K: Floats, present_K: NDArray[np.bool_]) -> Floats:
        grad_KH = normalized(grad_KH, loss_K, self.normalize)
        if self.momentum:
            grad_KH = self._averaged(grad_KH, present_K)
        gram_KK = grad_KH @ grad_KH.T
        lam_K = np.zeros(len(present_K))
        present = np.flatnonzero(present_K)
        lam_K[present] = min_norm_weights(gram_KK[np.ix_(present, present)], self.solver)
        return lam_K

    def _averaged(self, grad_KH: Floats, present_K: NDArray[np.bool_]) -> Floats:
        if self.average_KH is None or self.seen_K is None:
            self.average_KH = np.zeros_like(grad_KH)
            self.seen_K = np.zeros_like(present_K)
        # A source's average starts at its own first gradient, not at zero.
        keep_K1 = self.momentum * self.seen_K[:, None]
        moved_KH = keep_K1 * self.average_KH + (1 - keep_K1) * grad_KH
        self.average_KH = np.where(present_K[:, None], moved_KH, self.average_KH)
        self.seen_K = self.seen_K | present_K
        return self.average_KH

    def state_dict(self) -> dict[str, Tensor]:
        if self.average_KH is None or self.seen_K is None:
            return {}
        return {
            "average_KH": torch.from_numpy(self.average_KH),
            "seen_K": torch.from_numpy(self.seen_K),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:
            self.average_KH, self.seen_K = state["average_KH"].numpy(), state["seen_K"].numpy()


def normalized(grad_KH: Floats, loss_K: Floats, how: str) -> Floats:
    """Gradients divided by what `objective.normalize` names; a zero divisor leaves them as is."""
    norm_K = np.linalg.norm(grad_KH, axis=1)
    divisor_K = {
        "none": np.ones_like(norm_K),
        "l2": norm_K,
        "loss": (loss_K + 1) / (loss_K + 1).sum(),
        "loss+": norm_K * loss_K,
    }[how]
    return grad_KH / np.where(divisor_K == 0, 1.0, divisor_K)[:, None]


def make_weighting(
    config: ObjectiveConfig, names: Sequence[str], sizes: Sequence[int]
) -> Weighting:
    """The weighting that a config asks for.

    Args:
        names: the K sources in order.
        sizes: |D_i|, distinct training pairs of each.

    Raises:
        ValueError: `objective.weights` does not name exactly the sources of the run.
    """
    if config.scheme == "more":
        return MinNorm(config.normalize, config.momentum, config.solver)
    if config.scheme == "uniform":
        share_K = np.ones(len(names))
    elif config.scheme == "proportional":
        share_K = np.asarray(sizes, dtype=np.float64)
    else:
        given = config.weights or {}
        if set(given) != set(names):
            raise ValueError(
                f"objective.weights: names {sorted(given)}; allowed are exactly {sorted(names)}"
            )
        share_K = np.asarray([given[name] for name in names], dtype=np.float64)
    return Fixed(share_K / share_K.sum())
