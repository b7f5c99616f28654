"""The content of `eval.json`: every measure for every source, and the mean over sources.

Legend: N pairs of one source, K sources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from more_ray.evaluate.accuracy import Z_95, accuracy, accuracy_interval
from more_ray.evaluate.baselines import longer_answer_accuracy
from more_ray.evaluate.calibration import (
    brier,
    ece,
    ece_interval,
    ece_noise_floor,
    nll,
    true_calibration_error,
)

AVERAGED = ("accuracy", "ece", "ece_noise_floor", "brier", "nll", "longer_answer_accuracy")


@dataclass(frozen=True)
class SourceScores:
    """The scored test pairs of one source, arrays of shape `[N]`.

    `probability_N`, the true probability that chosen is preferred, is known for simulated data.
    """

    chosen_N: NDArray[np.floating]
    rejected_N: NDArray[np.floating]
    chosen_length_N: NDArray[np.integer]
    rejected_length_N: NDArray[np.integer]
    probability_N: NDArray[np.float64] | None = None


def summarise(
    scores: Mapping[str, SourceScores], scheme: str, step: int, seed: int
) -> dict[str, Any]:
    """Returns the `eval.json` of one model: plain floats, ready for `json.dumps`.

    `scheme` and `step` say which model it is; `seed` fixes the resampling. The mean is the plain
    mean over sources (each counts the same, whatever its size), and its `n` the total. Its
    `accuracy_ci` is normal, with the binomial variance of each source.

    Raises:
        ValueError: a source has no pairs, or scores that are NaN or infinite.
    """
    sources = {name: _source(name, one, seed) for name, one in scores.items()}
    return {"scheme": scheme, "step": step, "sources": sources, "mean": _mean(sources)}


def _source(name: str, scores: SourceScores, seed: int) -> dict[str, Any]:
    delta_N = _delta(name, scores)
    result = {
        "n": len(delta_N),
        "accuracy": accuracy(delta_N),
        "accuracy_ci": list(accuracy_interval(delta_N)),
        "ece": ece(delta_N),
        "ece_ci": list(ece_interval(delta_N, seed)),
        "ece_noise_floor": ece_noise_floor(delta_N, seed),
        "brier": brier(delta_N),
        "nll": nll(delta_N),
        "longer_answer_accuracy": longer_answer_accuracy(
            scores.chosen_length_N, scores.rejected_length_N
        ),
    }
    if scores.probability_N is not None:
        result["true_calibration_error"] = true_calibration_error(delta_N, scores.probability_N)
    return result


def _delta(name: str, scores: SourceScores) -> NDArray[np.float64]:
    if len(scores.chosen_N) == 0:
        raise ValueError(f"source {name!r} has no test pairs to evaluate")
    score_2N = np.stack([scores.chosen_N, scores.rejected_N]).astype(np.float64)
    if bad := np.count_nonzero(~np.isfinite(score_2N)):
        raise ValueError(f"source {name!r} has {bad} of {score_2N.size} scores NaN or infinite")
    return score_2N[0] - score_2N[1]


def _mean(sources: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    each = sources.values()
    everywhere = all("true_calibration_error" in one for one in each)
    keys = (*AVERAGED, "true_calibration_error") if everywhere else AVERAGED
    mean = {key: fmean(one[key] for one in each) for key in keys}
    variances = [one["accuracy"] * (1 - one["accuracy"]) / one["n"] for one in each]
    half = Z_95 * math.sqrt(sum(variances)) / len(sources)
    interval = [max(0.0, mean["accuracy"] - half), min(1.0, mean["accuracy"] + half)]
    return {"n": sum(one["n"] for one in each), **mean, "accuracy_ci": interval}
