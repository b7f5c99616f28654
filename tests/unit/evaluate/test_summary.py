from __future__ import annotations

import json

import numpy as np
import pytest

from more_ray.evaluate.summary import SourceScores, summarise

MEASURES = {
    "n",
    "accuracy",
    "accuracy_ci",
    "ece",
    "ece_ci",
    "ece_noise_floor",
    "brier",
    "nll",
    "longer_answer_accuracy",
}


def scores(seed: int, pairs: int = 200, simulated: bool = False) -> SourceScores:
    rng = np.random.default_rng(seed)
    return SourceScores(
        chosen_N=rng.normal(0.5, 1.0, pairs).astype(np.float32),
        rejected_N=rng.normal(0.0, 1.0, pairs).astype(np.float32),
        chosen_length_N=rng.integers(1, 50, pairs),
        rejected_length_N=rng.integers(1, 50, pairs),
        probability_N=rng.random(pairs) if simulated else None,
    )


def with_chosen(chosen: list[float]) -> SourceScores:
    chosen_N = np.array(chosen)
    length_N = np.ones(len(chosen), dtype=int)
    return SourceScores(chosen_N, np.zeros(len(chosen)), length_N, length_N)


def test_the_contract() -> None:
    result = summarise({"helpful": scores(0), "webgpt": scores(1, 50)}, "more", step=40, seed=0)
    assert set(result) == {"scheme", "step", "sources", "mean"}
    assert (result["scheme"], result["step"]) == ("more", 40)
    assert all(set(one) == MEASURES for one in result["sources"].values())
    assert set(result["mean"]) == MEASURES - {"ece_ci"}
    assert json.loads(json.dumps(result)) == result


def test_the_mean_counts_every_source_the_same() -> None:
    result = summarise({"a": scores(0, 300), "b": scores(1, 30)}, "uniform", step=0, seed=0)
    a, b, mean = result["sources"]["a"], result["sources"]["b"], result["mean"]
    assert mean["n"] == 330
    for key in ("accuracy", "ece", "ece_noise_floor", "brier", "nll", "longer_answer_accuracy"):
        assert mean[key] == pytest.approx((a[key] + b[key]) / 2)


def test_the_interval_of_the_mean_narrows_with_more_sources() -> None:
    """Of K sources with n pairs each and accuracy a: 1.96 sqrt(a (1 - a) / (K n))."""
    half_right = with_chosen([1.0, -1.0] * 50)
    result = summarise({str(k): half_right for k in range(4)}, "more", step=0, seed=0)
    half = 1.96 * np.sqrt(0.25 / 400)
    assert result["mean"]["accuracy_ci"] == pytest.approx([0.5 - half, 0.5 + half], abs=1e-4)


def test_true_calibration_error_only_where_it_is_known() -> None:
    simulated, real = scores(0, simulated=True), scores(1)
    both = summarise({"simulated": simulated, "real": real}, "more", step=0, seed=0)
    assert "true_calibration_error" in both["sources"]["simulated"]
    assert "true_calibration_error" not in both["sources"]["real"]
    assert "true_calibration_error" not in both["mean"]
    assert "true_calibration_error" in summarise({"a": simulated}, "more", step=0, seed=0)["mean"]


def test_a_source_without_pairs() -> None:
    with pytest.raises(ValueError, match="source 'webgpt' has no test pairs"):
        summarise({"helpful": scores(0), "webgpt": scores(1, 0)}, "more", step=0, seed=0)


def test_scores_that_are_not_finite() -> None:
    broken = with_chosen([1.0, np.nan, np.inf])
    with pytest.raises(ValueError, match="source 'gpt4' has 2 of 6 scores NaN or infinite"):
        summarise({"gpt4": broken}, "more", step=0, seed=0)
