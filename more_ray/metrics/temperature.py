"""A fitted scalar per source, the reference that every calibrated reward model should be held to.

Legend: N pairs.
"""

from __future__ import annotations

import numpy as np
from typing_extensions import Unpack

from more_ray.metrics.calibration import sigmoid
from more_ray.metrics.labels import Floats, Labels, taken

LIMITS = (1e-3, 1e3)


def fit_temperature(
    delta_N: Floats, share_N: Floats | None = None, weight_N: Floats | None = None
) -> float:
    """The T that makes the mean ranking loss of `delta_N / T` least (Guo et al., 2017).

    The loss is convex in `a = 1/T`, so its slope `-mean(delta (sigmoid(-a delta) - (1 - s)))` is
    bisected; s is the share of votes, 1 for a hard label. A model that is wrong more often than
    right gets the upper limit, 1,000.
    """
    against = 0.0 if share_N is None else 1 - share_N
    scaled_N = delta_N if weight_N is None else weight_N * delta_N
    low, high = (1 / limit for limit in reversed(LIMITS))
    for _ in range(60):
        middle = np.sqrt(low * high)
        falls = np.mean(scaled_N * (sigmoid(-middle * delta_N) - against)) > 0
        low, high = (middle, high) if falls else (low, middle)
    return float(1 / np.sqrt(low * high))


def temperature_scaled(
    delta_N: Floats, seed: int, **labels: Unpack[Labels]
) -> tuple[Floats, float]:
    """The differences divided by a temperature that is fitted on the other half of the pairs.

    Returns:
        `[N]` scaled differences, and the geometric mean of the two temperatures.
    """
    first_N = np.random.default_rng(seed).permutation(len(delta_N)) % 2 == 0
    first, second = (
        fit_temperature(delta_N[half_N], **taken(labels, half_N)) for half_N in (first_N, ~first_N)
    )
    return delta_N / np.where(first_N, second, first), float(np.sqrt(first * second))
