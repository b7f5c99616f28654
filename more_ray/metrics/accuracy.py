"""How often the chosen answer scores higher than the rejected one. Legend: N pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from more_ray.metrics.labels import Floats, mean_of_decided


def accuracy(
    delta_N: NDArray[np.float64], share_N: Floats | None = None, weight_N: Floats | None = None
) -> float:
    """The share of pairs with `delta = chosen score - rejected score > 0`; a tie is wrong.

    Pairs with half of the votes each are left out; where there are no others it is one half.
    """
    right_N = delta_N > 0 if share_N is None else np.where(share_N > 0.5, delta_N, -delta_N) > 0
    return mean_of_decided(right_N, share_N, weight_N)
