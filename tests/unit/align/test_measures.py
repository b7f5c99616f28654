from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ttest_1samp

from more_ray.align.measures import (
    by_prompt,
    distinct_bigrams,
    diversity,
)
from more_ray.metrics.intervals import mean_with_interval


def test_means_are_of_prompts_and_leave_out_what_has_no_value() -> None:
    samples = pa.table({"row": [1, 0, 0, 1, 2], "score": [1.0, 2.0, 4.0, None, None]})
    assert by_prompt(samples, "score").tolist() == pytest.approx([3.0, 1.0, math.nan], nan_ok=True)


def test_the_interval_is_students_and_leaves_out_nan() -> None:
    value_P = np.random.default_rng(0).normal(2, 1, 30)
    one = mean_with_interval(np.append(value_P, np.nan))
    assert one["n"] == 30
    assert one["mean"] == pytest.approx(value_P.mean())
    assert one["ci"] == pytest.approx(ttest_1samp(value_P, 0).confidence_interval())


def test_too_few_values_have_no_interval() -> None:
    assert mean_with_interval(np.array([3.0])) == {"mean": 3.0, "ci": None, "n": 1}
    assert mean_with_interval(np.array([math.nan])) == {"mean": None, "ci": None, "n": 0}


def test_distinct_bigrams() -> None:
    assert distinct_bigrams(["a b c", "a b d"]) == 3 / 4
    assert distinct_bigrams(["a b", "a b"]) == 1 / 2
    assert distinct_bigrams(["a", ""]) is None


def test_diversity_is_a_mean_over_prompts() -> None:
    samples = pa.table({"row": [0, 0, 1, 1], "response": ["a b", "a b", "a b", "b a"]})
    assert diversity(samples)["mean"] == pytest.approx(0.75)
