"""Over-rewarding: reward differences far outside the rest (the paper's Tables 4 to 6).

Legend: N pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def outliers(
    delta_N: NDArray[np.float64], share_N: NDArray[np.float64] | None = None
) -> dict[str, float | None]:
    """Counts and means of positive and negative outliers, by Tukey's rule.

    An outlier lies more than 1.5 interquartile ranges above the third quartile or below the first;
    positive outliers reward the chosen answer and negative outliers the rejected one. Without
    outliers the mean is None. Of pairs with half of the votes each, neither answer is the chosen
    one: they count for the quartiles alone.
    """
    if share_N is not None:
        delta_N = np.where(share_N < 0.5, -delta_N, delta_N)
    first, third = np.quantile(delta_N, [0.25, 0.75])
    reach = 1.5 * (third - first)
    is_far_N = (delta_N > third + reach) | (delta_N < first - reach)
    if share_N is not None:
        is_far_N &= share_N != 0.5
    far_N = delta_N[is_far_N]
    positive_N, negative_N = far_N[far_N > 0], far_N[far_N < 0]
    return {
        "positive_outliers": len(positive_N),
        "positive_outlier_mean": float(positive_N.mean()) if len(positive_N) else None,
        "negative_outliers": len(negative_N),
        "negative_outlier_mean": float(negative_N.mean()) if len(negative_N) else None,
    }
