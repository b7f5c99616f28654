"""Weights of the sources, lam: solved each step (MORE), by their losses, or known beforehand.

The gradients of a language-model head are large, so they stay on their device: only their inner
products go to the host.

Legend: K sources, H parameters of the head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from more_ray.objective.min_norm import min_norm_weights
from more_ray.objective.noise import without_noise

Floats = NDArray[np.float64]

COLUMNS = 2**20


class Weighting(Protocol):
    """lam from the mean head gradient and loss of each source."""

    def weights(
        self, gram_KK: Floats, noise_K: Floats, loss_K: Floats, count_K: Floats, sum_KH: Tensor
    ) -> Floats:
        """`[K]` float64 with sum 1; 0 for sources without a pair, or of a given weight of 0.

        Args:
            gram_KK: the inner products of the mean gradients.
            noise_K: the sampling noise in their squared norms; NaN where it is unknown.
            count_K: what the pairs of each source count: their number, or the sum of their weights.
            sum_KH: the head gradients, summed over a source's pairs.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """The state that a resumed run needs."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


@dataclass
class Fixed:
    """The same lam at every step: uniform, proportional or given."""

    lam_K: np.ndarray

    def weights(
        self, gram_KK: Floats, noise_K: Floats, loss_K: Floats, count_K: Floats, sum_KH: Tensor
    ) -> Floats:
        lam_K = np.where(count_K > 0, self.lam_K, 0.0)
        # With `data.resample=false` a batch may have pairs of sources of weight 0 only.
        return lam_K / (lam_K.sum() or 1.0)

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass


@dataclass
class GroupDro:
    """Sagawa et al., "Distributionally Robust Neural Networks" (2020): sources of high loss count
    more, by exponentiated gradient ascent. A source without a pair in the batch keeps its share."""

    step: float
    q_K: NDArray[np.float64] | None = field(default=None, init=False)

    def weights(
        self, gram_KK: Floats, noise_K: Floats, loss_K: Floats, count_K: Floats, sum_KH: Tensor
    ) -> Floats:
        if self.q_K is None:
            self.q_K = np.full(len(count_K), 1 / len(count_K))
        present = np.flatnonzero(count_K)
        # The largest loss is subtracted so that no exponential overflows; it cancels.
        grown = self.q_K[present] * np.exp(self.step * (loss_K[present] - loss_K[present].max()))
        lam_K = np.zeros(len(count_K))
        lam_K[present] = grown / grown.sum()
        self.q_K[present] = lam_K[present] * self.q_K[present].sum()
        return lam_K

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.q_K is None else {"q_K": torch.from_numpy(self.q_K.copy())}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:
            self.q_K = state["q_K"].numpy().copy()


@dataclass
class MinNorm:
    """MORE: the minimiser of (9) over normalised, optionally averaged head gradients."""

    normalize: str = "none"
    momentum: float = 0.0
    solver: str = "active_set"
    debias: bool = False
    average_KH: Tensor | None = field(default=None, init=False)
    seen_K: NDArray[np.bool_] | None = field(default=None, init=False)

    def weights(
        self, gram_KK: Floats, noise_K: Floats, loss_K: Floats, count_K: Floats, sum_KH: Tensor
    ) -> Floats:
        if self.debias:
            gram_KK = without_noise(gram_KK, noise_K)
        scale_K = 1 / divisor(gram_KK, loss_K, self.normalize)
        if self.momentum:
            gram_KK = gram(self._average(sum_KH, scale_K, count_K)).cpu().numpy()
        else:
            gram_KK = gram_KK * np.outer(scale_K, scale_K)
        lam_K = np.zeros(len(count_K))
        present = np.flatnonzero(count_K)
        lam_K[present] = min_norm_weights(gram_KK[np.ix_(present, present)], self.solver)
        return lam_K

    def _average(self, sum_KH: Tensor, scale_K: Floats, count_K: Floats) -> Tensor:
        if self.average_KH is None or self.seen_K is None:
            self.average_KH = torch.zeros_like(sum_KH)
            self.seen_K = np.zeros(len(count_K), dtype=bool)
        present_K = count_K > 0
        # A source's average starts at its own first gradient, not at zero.
        keep_K = np.where(present_K, self.momentum * self.seen_K, 1.0)
        share_K = (1 - keep_K) * scale_K / np.where(present_K, count_K, 1)
        keep_K1, share_K1 = (torch.from_numpy(x_K).to(sum_KH)[:, None] for x_K in (keep_K, share_K))
        self.average_KH = keep_K1 * self.average_KH.to(sum_KH) + share_K1 * sum_KH
        self.seen_K = self.seen_K | present_K
        return self.average_KH

    def state_dict(self) -> dict[str, Tensor]:
        if self.average_KH is None or self.seen_K is None:
            return {}
        return {"average_KH": self.average_KH.cpu(), "seen_K": torch.from_numpy(self.seen_K)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:
            self.average_KH, self.seen_K = state["average_KH"], state["seen_K"].numpy()


def gram(value_KH: Tensor) -> Tensor:
    """`[K, K]` inner products in fp64, summed over blocks of columns to save memory."""
    gram_KK = value_KH.new_zeros((len(value_KH), len(value_KH)), dtype=torch.float64)
    for part_KC in value_KH.split(COLUMNS, dim=1):
        part_KC = part_KC.double()
        gram_KK.addmm_(part_KC, part_KC.T)
    return gram_KK


def divisor(gram_KK: Floats, loss_K: Floats, how: str) -> Floats:
    """What `objective.normalize` divides each gradient by; 1 where that would be zero."""
    norm_K = np.sqrt(gram_KK.diagonal())
    divisor_K = {
        "none": np.ones_like(norm_K),
        "l2": norm_K,
        "loss": (loss_K + 1) / (loss_K + 1).sum(),
        "loss+": norm_K * loss_K,
    }[how]
    return np.where(divisor_K == 0, 1.0, divisor_K)
