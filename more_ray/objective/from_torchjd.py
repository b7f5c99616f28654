"""The weightings of the package torchjd as schemes, by the names that they have there.

torchjd is optional: it is imported where a weighting is asked for.

Legend: K sources, J those that have pairs in the batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from more_ray.objective.noise import without_noise
from more_ray.objective.weighting import Floats

ENDING = "Weighting"
CANCELS = 1e-6
"""Weights whose sum is a smaller share of their sizes cancel each other, and have no direction."""


def usable() -> dict[str, Callable[[], Callable[[Tensor], Tensor]]]:
    """The weightings that can be made without arguments, by their names without `Weighting`.

    Those that keep a state from step to step are left out: torchjd cannot save it, so a resumed run
    would not be the same.

    Raises:
        ImportError: torchjd is not installed.
    """
    from torchjd import Stateful, aggregation

    found = {name: getattr(aggregation, name) for name in aggregation.__all__}
    return {
        name.removesuffix(ENDING): kind
        for name, kind in found.items()
        if name.endswith(ENDING)
        and not inspect.isabstract(kind)
        and not issubclass(kind, Stateful)
        and all(one.default is not one.empty for one in inspect.signature(kind).parameters.values())
    }


@dataclass
class TorchJD:
    """The weights that a weighting of torchjd gives the present sources, divided by their sum.

    Its weights need not sum to 1, but the length of a step is the learning rate's to set, whatever
    the scheme. Some methods (IMTLG) give a source a negative weight, which it keeps. Where the sum
    is not above 0, as for gradients that are all zero, or cancels, the weights are uniform.

    Args:
        name: a key of `usable()`.
        debias: see `objective.debias`.
    """

    name: str
    debias: bool = False
    _weighting: Callable[[Tensor], Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self._weighting = usable()[self.name]()

    def weights(
        self, gram_KK: Floats, noise_K: Floats, loss_K: Floats, count_K: Floats, sum_KH: Tensor
    ) -> Floats:
        if self.debias:
            gram_KK = without_noise(gram_KK, noise_K)
        present = np.flatnonzero(count_K)
        if self.debias and gram_KK.diagonal().any():
            # What is nothing but noise gets no weight, whatever the method makes of a zero.
            present = np.flatnonzero(gram_KK.diagonal())
        gram_JJ = torch.from_numpy(gram_KK[np.ix_(present, present)])
        weight_J = self._weighting(gram_JJ).numpy()
        total = weight_J.sum()
        lam_K = np.zeros(len(count_K))
        adds_up = total > CANCELS * np.abs(weight_J).sum()
        lam_K[present] = weight_J / total if adds_up else 1 / len(present)
        return lam_K

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass
