from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from more_ray.metrics.perplexity import (
    Likelihoods,
    answer_perplexity,
    perplexity,
    summarise_likelihoods,
)

ANSWERS = st.lists(st.tuples(st.floats(0, 500), st.integers(1, 200)), min_size=1, max_size=30)


@given(ANSWERS)
def test_perplexities_lie_between_those_of_single_answers(answers: list[tuple[float, int]]) -> None:
    nll_N, tokens_N = np.array(answers).T
    own_N = np.exp(nll_N / tokens_N)
    for measure in (perplexity, answer_perplexity):
        assert own_N.min() * (1 - 1e-9) <= measure(nll_N, tokens_N) <= own_N.max() * (1 + 1e-9)


def test_a_uniform_policy_has_the_perplexity_of_its_vocabulary() -> None:
    tokens_N = np.arange(1, 50)
    one = Likelihoods(np.arange(49), tokens_N * np.log(64), tokens_N)
    result = summarise_likelihoods({"source": one}, "uniform", 0, seed=0, resamples=100)
    for row in (result["sources"]["source"], result["mean"]):
        for key in ("perplexity", "answer_perplexity", "median_perplexity"):
            assert row[key] == pytest.approx(64)
    assert result["sources"]["source"]["outliers"] == 0


def test_outliers_are_counted_and_not_hidden() -> None:
    rng = np.random.default_rng(0)
    tokens_N = np.full(200, 10)
    nll_N = 10 * rng.normal(2.0, 0.1, 200)
    nll_N[:3] = 120
    one = Likelihoods(np.arange(200), nll_N, tokens_N)
    row = summarise_likelihoods({"s": one}, "uniform", 0, seed=0)["sources"]["s"]
    assert row["outliers"] >= 3
    assert row["answer_perplexity"] > 100 * row["median_perplexity"]
    for key in ("perplexity", "answer_perplexity"):
        low, high = row[f"{key}_ci"]
        assert 0 < low < row[key] < high


@pytest.mark.parametrize("nll", [[], [1.0, np.nan]])
def test_what_cannot_be_summarised(nll: list[float]) -> None:
    one = Likelihoods(np.arange(len(nll)), np.array(nll), np.ones(len(nll)))
    with pytest.raises(ValueError, match=r"no test answers|not finite"):
        summarise_likelihoods({"s": one}, "uniform", 0, seed=0)
