"""How often the chosen answer scores higher than the rejected one. Legend: N pairs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054


def accuracy(delta_N: NDArray[np.float64]) -> float:
    """The share of pairs with `delta = chosen score - rejected score > 0`; a tie is wrong."""
    return float(np.mean(delta_N > 0))


def accuracy_interval(delta_N: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% Wilson interval of `accuracy`, which holds for few pairs and near 0 or 1 too."""
    n, p = len(delta_N), accuracy(delta_N)
    shrink = 1 + Z_95**2 / n
    centre = (p + Z_95**2 / (2 * n)) / shrink
    half = Z_95 / shrink * math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)
