"""How often the chosen answer scores higher than the rejected one. Legend: N pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def accuracy(delta_N: NDArray[np.float64]) -> float:
    """The share of pairs with `delta = chosen score - rejected score > 0`; a tie is wrong."""
    return float(np.mean(delta_N > 0))
