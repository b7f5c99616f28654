"""What needs no reward model, and so what a reward model must beat. Legend: N pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def longer_answer_accuracy(
    chosen_lengths_N: NDArray[np.integer], rejected_lengths_N: NDArray[np.integer]
) -> float:
    """The accuracy of preferring the longer answer; equal lengths count one half."""
    return float(np.mean(0.5 + 0.5 * np.sign(chosen_lengths_N - rejected_lengths_N)))
