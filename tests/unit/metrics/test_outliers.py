"""Over-rewarded pairs, by Tukey's rule."""

from __future__ import annotations

import numpy as np
from matplotlib.cbook import boxplot_stats

from more_ray.metrics.outliers import outliers


def test_outliers_are_those_of_a_box_plot() -> None:
    delta_N = np.random.default_rng(0).standard_t(2, size=500)
    fliers = boxplot_stats(delta_N)[0]["fliers"]
    found = outliers(delta_N)
    positive, negative = fliers[fliers > 0], fliers[fliers < 0]
    assert (found["positive_outliers"], found["negative_outliers"]) == (
        len(positive),
        len(negative),
    )
    np.testing.assert_allclose(found["positive_outlier_mean"], positive.mean())
    np.testing.assert_allclose(found["negative_outlier_mean"], negative.mean())


def test_equal_differences_have_none() -> None:
    assert outliers(np.ones(5)) == {
        "positive_outliers": 0,
        "positive_outlier_mean": None,
        "negative_outliers": 0,
        "negative_outlier_mean": None,
    }
