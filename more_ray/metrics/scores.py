"""The scores of test pairs.

Legend: N test pairs of one source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SourceScores:
    """The scored test pairs of one source, arrays of shape `[N]`.

    `pair_N` names each pair by its content, the same for every model and tokenizer.
    `probability_N`, the true probability that chosen is preferred, is known for simulated data;
    `subset_N` names parts of a test set, None where a pair is in none.
    """

    pair_N: NDArray[np.integer]
    chosen_N: NDArray[np.floating]
    rejected_N: NDArray[np.floating]
    chosen_length_N: NDArray[np.integer]
    rejected_length_N: NDArray[np.integer]
    probability_N: NDArray[np.floating] | None = None
    subset_N: NDArray[np.object_] | None = None

    @property
    def delta_N(self) -> NDArray[np.float64]:
        """Chosen minus rejected score."""
        return self.chosen_N.astype(np.float64) - self.rejected_N.astype(np.float64)
