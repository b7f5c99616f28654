"""The content of `eval.json`: every measure for every source, and the mean over sources.

Legend: N pairs of one source, S seeds, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, TypeVar, cast

import numpy as np

from more_ray.metrics.accuracy import accuracy
from more_ray.metrics.baselines import longer_answer_accuracy
from more_ray.metrics.calibration import ece, nll
from more_ray.metrics.evaluation import Comparison, Differences, Evaluation, SourceMeasures
from more_ray.metrics.intervals import (
    Z_95,
    calibrated_replicates,
    calibration_interval,
    interval,
    paired_difference,
    replicates,
    wilson,
)
from more_ray.metrics.labels import Floats, Labels, decided_pairs, taken
from more_ray.metrics.measures import MEASURES, Function, Measure, compared, functions
from more_ray.metrics.outliers import outliers
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.temperature import temperature_scaled

Content = TypeVar("Content", bound=Mapping[str, Any])
"""An evaluation or a part of it."""


def summarise(
    scores: Mapping[str, SourceScores],
    scheme: str,
    step: int | None,
    seed: int,
    bins: int = 10,
    resamples: int = 1_000,
) -> Evaluation:
    """Returns the `eval.json` of one model: plain floats, ready for `json.dumps`.

    `KEY_ci` is the 95% interval of KEY. `ece_at_temperature` and `nll_at_temperature` are those of
    the same scores divided by a `temperature` fitted per source. `subsets` holds a source's
    accuracy and ECE by subset, where its pairs name subsets. The mean is the plain mean over
    sources (each counts the same, whatever its size), and its `n` the total. Where pairs have
    shares or weights, `accuracy_n` is how many pairs the accuracy is of: those that are no tie, and
    of weights as many equal ones as tell as much.

    Args:
        scheme, step: which model it is; the step is unknown for a model trained elsewhere.
        seed: seed of the resampling.

    Raises:
        ValueError: a source has fewer than two pairs, or scores that are NaN or infinite.
    """
    sources, values, calibrated = {}, {}, {}
    for name, pairs in scores.items():
        sources[name], values[name], calibrated[name] = _source(name, pairs, seed, bins, resamples)
    return {
        "scheme": scheme,
        "step": step,
        "bins": bins,
        "sources": sources,
        "mean": _mean(sources, values, calibrated),
    }


def compare(
    scores: Sequence[Mapping[str, SourceScores]],
    others: Sequence[Mapping[str, SourceScores]],
    seed: int,
    bins: int = 10,
    resamples: int = 1_000,
) -> Comparison:
    """This model less the other, measure by measure, with intervals and p-values.

    Args:
        scores, others: for each model, its scores per training seed. Measures are
            means over the seeds (as many as both have), and pairs are resampled for all at once:
            intervals are about other pairs, not about other seeds. Shares and weights of pairs
            are those of the first.

    Returns:
        `sources`, the differences by name, and `mean`, those of the means over sources.

    Raises:
        ValueError: the two were not scored on the same pairs.
    """
    seeds = list(zip(scores, others, strict=False))
    for first, second in seeds:
        if set(first) != set(second):
            raise ValueError(f"sources {sorted(first)} and {sorted(second)} are not the same")
    measures = {row.key: _over_seeds(functions(bins)[row.key]) for row in compared()}
    pairs = {name: _aligned(name, seeds) for name in scores[0]}
    labels = {
        name: taken(source.labels, np.argsort(source.pair_N)) for name, source in scores[0].items()
    }

    def differences(names: Sequence[str]) -> Differences:
        of, known = [pairs[name] for name in names], [labels[name] for name in names]
        return {
            key: paired_difference(measure, of, seed, resamples, known)
            for key, measure in measures.items()
        }

    return {
        "sources": {name: differences([name]) for name in pairs},
        "mean": differences(list(pairs)),
    }


def mean_over_seeds(evaluations: Sequence[Content]) -> Content:
    """The mean of a model's evaluations over its training seeds.

    Floats and the ends of intervals are averaged; the interval of the mean is no wider than that.
    Counts and names are those of the first evaluation.
    """
    result: dict[str, Any] = {}
    for key, first in evaluations[0].items():
        # Evaluations of earlier versions do not know every key.
        values = [found[key] for found in evaluations if found.get(key) is not None]
        if isinstance(first, Mapping) and len(values) < len(evaluations):
            continue
        if isinstance(first, Mapping):
            result[key] = mean_over_seeds(values)
        elif isinstance(first, list):
            result[key] = [fmean(ends) for ends in zip(*values, strict=True)]
        elif isinstance(first, float):
            result[key] = fmean(values)
        else:
            result[key] = first
    return cast(Content, result)


def _over_seeds(measure: Function) -> Function:
    return lambda delta_NS, **labels: fmean(measure(delta_N, **labels) for delta_N in delta_NS.T)


def _aligned(
    name: str, seeds: Sequence[tuple[Mapping[str, SourceScores], Mapping[str, SourceScores]]]
) -> tuple[Floats, Floats]:
    """The reward differences `[N, S]` of two models, in the same order of pairs."""
    first = seeds[0][0][name]
    columns: tuple[list[Floats], list[Floats]] = ([], [])
    for models in seeds:
        for column, model in zip(columns, models, strict=True):
            source = model[name]
            if not np.array_equal(np.sort(first.pair_N), np.sort(source.pair_N)):
                common = len(np.intersect1d(first.pair_N, source.pair_N))
                raise ValueError(
                    f"source {name!r}: the two models were scored on different pairs, "
                    f"{len(first.pair_N)} and {len(source.pair_N)} with {common} in common"
                )
            column.append(_delta(name, source)[np.argsort(source.pair_N)])
    return np.stack(columns[0], axis=1), np.stack(columns[1], axis=1)


def _source(
    name: str, scores: SourceScores, seed: int, bins: int, resamples: int
) -> tuple[SourceMeasures, dict[str, Floats], dict[str, Floats]]:
    """The measures of one source; their values `[R]` on resampled pairs, and if calibrated."""
    delta_N, labels = _delta(name, scores), scores.labels
    share_N, weight_N = labels.get("share_N"), labels.get("weight_N")
    measures = functions(bins)
    errors = {
        key: function
        for key, function in measures.items()
        if MEASURES[key].interval == "calibration"
    }
    calibrated = calibrated_replicates(errors, delta_N, seed, resamples, **labels)
    values = replicates(measures, (delta_N,), seed, resamples, **labels)
    estimates = {key: measure(delta_N, **labels) for key, measure in measures.items()}
    if scores.probability_N is not None:
        arrays = (delta_N, scores.probability_N.astype(np.float64))
        rows = [row for row in MEASURES.values() if row.needs_truth]
        truth = {row.key: row.function for row in rows if row.function}
        weights: Labels = {} if weight_N is None else {"weight_N": weight_N}
        values |= replicates(truth, arrays, seed, resamples, **weights)
        estimates |= {key: measure(*arrays, **weights) for key, measure in truth.items()}
    result: SourceMeasures = {"n": len(delta_N)}
    decided = decided_pairs(len(delta_N), **labels)
    if labels:
        result["accuracy_n"] = decided
    for key, estimate in estimates.items():
        result[key] = estimate
        if MEASURES[key].interval == "wilson":
            result[f"{key}_ci"] = wilson(estimate, decided)
        elif MEASURES[key].interval:
            result[f"{key}_ci"] = _interval(MEASURES[key], estimate, values, calibrated)
    scaled_N, temperature = temperature_scaled(delta_N, seed, **labels)
    result |= {
        "ece_noise_floor": float(calibrated["ece"].mean()),
        "temperature": temperature,
        "ece_at_temperature": ece(scaled_N, bins, **labels),
        "nll_at_temperature": nll(scaled_N, **labels),
        "longer_answer_accuracy": longer_answer_accuracy(
            scores.chosen_length_N, scores.rejected_length_N, **labels
        ),
        **outliers(delta_N, share_N),
    }
    if scores.subset_N is not None:
        result["subsets"] = {
            name: _subset(
                delta_N[scores.subset_N == name], bins, taken(labels, scores.subset_N == name)
            )
            for name in sorted(set(scores.subset_N) - {None})
        }
    return result, values, calibrated


def _subset(delta_N: Floats, bins: int, labels: Labels) -> SourceMeasures:
    """The measures that few pairs suffice for."""
    right = accuracy(delta_N, **labels)
    return {
        "n": len(delta_N),
        "accuracy": right,
        "accuracy_ci": wilson(right, decided_pairs(len(delta_N), **labels)),
        "ece": ece(delta_N, bins, **labels),
    }


def _interval(
    row: Measure, estimate: float, values: Mapping[str, Floats], calibrated: Mapping[str, Floats]
) -> list[float]:
    if row.interval == "calibration":
        return calibration_interval(estimate, values[row.key], calibrated[row.key])
    return interval(estimate, values[row.key])


def _delta(name: str, scores: SourceScores) -> Floats:
    if len(scores.chosen_N) < 2:
        raise ValueError(f"source {name!r} has {len(scores.chosen_N)} test pairs; 2 are needed")
    score_2N = np.stack([scores.chosen_N, scores.rejected_N])
    if bad := np.count_nonzero(~np.isfinite(score_2N)):
        raise ValueError(f"source {name!r} has {bad} of {score_2N.size} scores NaN or infinite")
    return scores.delta_N


def _mean(
    sources: Mapping[str, SourceMeasures],
    values: Mapping[str, dict[str, Floats]],
    calibrated: Mapping[str, dict[str, Floats]],
) -> SourceMeasures:
    """Means over sources, also of the resamples: those of different sources are independent."""
    each = sources.values()
    mean: SourceMeasures = {"n": sum(one["n"] for one in each)}
    mean_values, mean_calibrated = _mean_values(values), _mean_values(calibrated)
    measured = [row for row in MEASURES.values() if row.key in mean_values]
    for row in measured:
        mean[row.key] = fmean(source[row.key] for source in each)
        if row.interval and row.interval != "wilson":
            mean[f"{row.key}_ci"] = _interval(row, mean[row.key], mean_values, mean_calibrated)
    for row in measured:
        if row.interval == "wilson":
            variances = [
                source[row.key]
                * (1 - source[row.key])
                / (source.get("accuracy_n", source["n"]) or 1)
                for source in each
            ]
            half = Z_95 * math.sqrt(sum(variances)) / len(sources)
            share = mean[row.key]
            mean[f"{row.key}_ci"] = [max(0.0, share - half), min(1.0, share + half)]
    marks = [row.mark for row in MEASURES.values()]
    without_function = [key for key, row in MEASURES.items() if not row.function]
    # What figures mark comes first: the order that `eval.json` has always had.
    for key in sorted(without_function, key=lambda key: key not in marks):
        mean[key] = fmean(source[key] for source in each)
    return mean


def _mean_values(values: Mapping[str, dict[str, Floats]]) -> dict[str, Floats]:
    """`[R]` for each measure that all sources have."""
    everywhere = set.intersection(*(set(source) for source in values.values()))
    return {
        key: np.mean([source[key] for source in values.values()], axis=0)
        for key in next(iter(values.values()))
        if key in everywhere
    }
