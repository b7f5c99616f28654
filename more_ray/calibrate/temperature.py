"""A temperature inside a head, so that `sigmoid` of its reward differences is calibrated anywhere.

Legend: N pairs, H hidden size.
"""

from __future__ import annotations

from more_ray.calibrate.pairs import Floats
from more_ray.metrics.temperature import fit_temperature


def with_temperature(head_H: Floats, delta_N: Floats) -> tuple[Floats, float]:
    """The head over the temperature T that its reward differences ask for, and T: no rank changes.

    Args:
        delta_N: of pairs whose first answer is the better one, by this head fitted without them.
    """
    temperature = fit_temperature(delta_N)
    return head_H / temperature, temperature
