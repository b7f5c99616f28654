from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from more_ray.evaluate.files import scores_by_source, scores_table
from more_ray.metrics.measures import MEASURES as TABLE
from more_ray.metrics.measures import compared
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import compare, mean_over_seeds
from more_ray.metrics.summary import summarise as summarise_often

# What is tested here does not depend on their number.
summarise = partial(summarise_often, resamples=100)

WITH_INTERVAL = {
    *("accuracy", "ece", "adaptive_ece", "debiased_ece", "brier", "nll"),
    *("delta_mean", "delta_std"),
    *(row.key for row in TABLE.values() if row.interval and not row.needs_truth),
}
MEASURES = {
    *WITH_INTERVAL,
    *(f"{name}_ci" for name in WITH_INTERVAL),
    *("n", "ece_noise_floor", "longer_answer_accuracy"),
    *("temperature", "ece_at_temperature", "nll_at_temperature"),
}
OUTLIERS = {
    f"{side}_{key}" for side in ("positive", "negative") for key in ("outliers", "outlier_mean")
}


def scores(seed: int, pairs: int = 200, simulated: bool = False) -> SourceScores:
    rng = np.random.default_rng(seed)
    return SourceScores(
        pair_N=np.arange(pairs),
        chosen_N=rng.normal(0.5, 1.0, pairs).astype(np.float32),
        rejected_N=rng.normal(0.0, 1.0, pairs).astype(np.float32),
        chosen_length_N=rng.integers(1, 50, pairs),
        rejected_length_N=rng.integers(1, 50, pairs),
        probability_N=rng.random(pairs).astype(np.float32) if simulated else None,
    )


def with_chosen(chosen: list[float]) -> SourceScores:
    chosen_N = np.array(chosen)
    length_N = np.ones(len(chosen), dtype=int)
    return SourceScores(np.arange(len(chosen)), chosen_N, np.zeros(len(chosen)), length_N, length_N)


def test_the_contract() -> None:
    result = summarise({"helpful": scores(0), "webgpt": scores(1, 50)}, "more", step=40, seed=0)
    assert set(result) == {"scheme", "step", "bins", "sources", "mean"}
    assert (result["scheme"], result["step"]) == ("more", 40)
    assert all(set(one) == MEASURES | OUTLIERS for one in result["sources"].values())
    assert set(result["mean"]) == MEASURES
    for one in [*result["sources"].values(), result["mean"]]:
        assert all(one[f"{name}_ci"][0] <= one[f"{name}_ci"][1] for name in WITH_INTERVAL)
    assert json.loads(json.dumps(result)) == result


def test_the_mean_counts_every_source_the_same() -> None:
    result = summarise({"a": scores(0, 300), "b": scores(1, 30)}, "uniform", step=0, seed=0)
    a, b, mean = result["sources"]["a"], result["sources"]["b"], result["mean"]
    assert mean["n"] == 330
    for key in ("accuracy", "ece", "ece_noise_floor", "brier", "nll", "longer_answer_accuracy"):
        assert mean[key] == pytest.approx((a[key] + b[key]) / 2)


def test_the_interval_of_the_mean_narrows_with_more_sources() -> None:
    """For K sources with n pairs each and accuracy a: 1.96 sqrt(a (1 - a) / (K n))."""
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


@pytest.mark.parametrize("pairs", [0, 1])
def test_a_source_with_too_few_pairs(pairs: int) -> None:
    with pytest.raises(ValueError, match=f"source 'webgpt' has {pairs} test pairs; 2 are needed"):
        summarise({"helpful": scores(0), "webgpt": scores(1, pairs)}, "more", step=0, seed=0)


def test_the_file_of_scores_holds_all_that_an_evaluation_needs() -> None:
    written = {"b": scores(0, simulated=True), "a": scores(1)}
    read = scores_by_source(scores_table(written))
    assert summarise(read, "more", 0, 0) == summarise(written, "more", 0, 0)


def test_two_models_are_compared_pair_by_pair() -> None:
    one, other = scores(0), scores(1)
    shuffled = np.random.default_rng(0).permutation(200)
    reordered = SourceScores(
        *(
            array[shuffled]
            for array in (
                *(one.pair_N, one.chosen_N, one.rejected_N),
                *(one.chosen_length_N, one.rejected_length_N),
            )
        )
    )
    same = compare([{"a": one}], [{"a": reordered}], seed=0, resamples=50)["sources"]["a"]
    assert {name: part["difference"] for name, part in same.items()} == {
        name: pytest.approx(0, abs=1e-12) for name in (measure.key for measure in compared())
    }
    different = compare([{"a": one}], [{"a": other}], seed=0, resamples=50)["sources"]["a"]
    assert different["accuracy"]["difference"] != 0
    assert different["accuracy"]["ci"][0] < different["accuracy"]["ci"][1]


def test_scores_of_two_models_on_different_pairs() -> None:
    with pytest.raises(ValueError, match="different pairs, 200 and 150 with 150 in common"):
        compare([{"a": scores(0)}], [{"a": scores(1, 150)}], seed=0)
    with pytest.raises(ValueError, match=r"sources \['a'\] and \['b'\] are not the same"):
        compare([{"a": scores(0)}], [{"b": scores(0)}], seed=0)


def test_scores_that_are_not_finite() -> None:
    broken = with_chosen([1.0, np.nan, np.inf])
    with pytest.raises(ValueError, match="source 'gpt4' has 2 of 6 scores NaN or infinite"):
        summarise({"gpt4": broken}, "more", step=0, seed=0)


def test_the_mean_over_seeds_is_that_of_every_number() -> None:
    one = {"scheme": "more", "n": 10, "a": 0.25, "a_ci": [0.0, 0.5], "deeper": {"mean": None}}
    other = {"scheme": "more", "n": 10, "a": 0.75, "a_ci": [0.5, 1.0], "deeper": {"mean": None}}
    expected = {"scheme": "more", "n": 10, "a": 0.5, "a_ci": [0.25, 0.75], "deeper": {"mean": None}}
    assert mean_over_seeds([one, other]) == expected


def test_seeds_are_compared_on_the_same_draws_of_pairs() -> None:
    one, other, third = ({"a": scores(seed)} for seed in (0, 1, 2))
    once = compare([one], [other], seed=0, resamples=50)
    assert compare([one, one], [other, other, third], seed=0, resamples=50) == once
    both = compare([one, other], [third, third], seed=0, resamples=50)["mean"]
    each = [compare([first], [third], seed=0, resamples=50)["mean"] for first in (one, other)]
    for key, measure in both.items():
        differences = [first[key]["difference"] for first in each]
        assert measure["difference"] == pytest.approx(np.mean(differences), abs=1e-12)
