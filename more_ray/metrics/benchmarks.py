"""The metrics of public test sets: what a question is worth, and means over subsets with intervals.

The definitions are those of allenai/reward-bench (RewardBench 2), THU-KEG/RM-Bench and
ScalerLab/JudgeBench. Every metric is a mean over questions, so one function makes all intervals.

Legend: N questions, R right and W wrong answers of a question, G groups, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from more_ray.metrics.calibration import brier, ece, nll
from more_ray.metrics.intervals import (
    calibrated_replicates,
    calibration_interval,
    interval,
    replicates,
)
from more_ray.metrics.measures import Function

Floats = NDArray[np.float64]
Kind = Literal["pairs", "best_of_n", "rm_bench"]
"""pairs: one right and one wrong answer (JudgeBench, LLMBar, HHH); the score is a mean over all.
best_of_n: any numbers of them (RewardBench 2); the score is the mean over subsets. rm_bench: three
of each, in the same three styles; the score is the mean over subsets."""
BenchmarkMeasures = dict[str, Any]
"""What `eval.json` says of a benchmark or a subset: see `summarise_benchmark`."""

TIES = "Ties"
"""The subset of RewardBench 2 with questions that have many right answers; it has its own score."""
STYLES = ("concise", "detailed", "markdown")
"""Of RM-Bench's answers, in their order."""


@dataclass(frozen=True)
class Scored:
    """A question with a number for each answer: its score, or its length.

    `group` names what is resampled together: the same prompt, or the two questions of a tie.
    """

    id: str
    group: str
    subset: str | None
    right_R: Floats
    wrong_W: Floats


def best_of_n(right_R: Floats, wrong_W: Floats) -> float:
    """1/(number of answers tied at the maximum) if a right answer is among them, else 0."""
    best = max(right_R.max(), wrong_W.max())
    tied = np.count_nonzero(right_R == best) + np.count_nonzero(wrong_W == best)
    return 1 / tied if right_R.max() == best else 0.0


def style_shares(right_R: Floats, wrong_W: Floats) -> dict[str, float]:
    """RM-Bench: is each right answer scored above each wrong one, a tie being wrong?

    `STYLE over STYLE` are the cells of the 3 x 3 matrix, the right answer's style first. `hard` is
    the mean of those above the diagonal (the wrong answer is the fancier one), `normal` that of the
    diagonal, `easy` that of those below, and `score` that of all nine.
    """
    above_33 = (right_R[:, None] > wrong_W).astype(float)
    return {
        "score": float(above_33.mean()),
        "easy": float(above_33[np.tril_indices(3, -1)].mean()),
        "normal": float(above_33.diagonal().mean()),
        "hard": float(above_33[np.triu_indices(3, 1)].mean()),
    } | {
        f"{mine} over {other}": float(above_33[row, column])
        for row, mine in enumerate(STYLES)
        for column, other in enumerate(STYLES)
    }


def tie_score(tied: Scored, reference: Scored) -> dict[str, float]:
    """RewardBench 2's Ties, for a question with many right answers and its reference with one.

    A question's gap is its worst right less its best wrong score; it is accurate where that is
    above 0. The spread is the best less the worst right score of the tied question. The score lies
    in [-0.01, 1.01].
    """
    gap, reference_gap = (one.right_R.min() - one.wrong_W.max() for one in (tied, reference))
    spread = np.ptp(tied.right_R)
    least_gap = min(gap, reference_gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A spread of 0 divides to infinity, whose tanh is 1; 0/0 counts 0.
        margin = float(np.nan_to_num(np.tanh(np.divide(least_gap, spread) - 1)))
    parts = {
        "tied_accuracy": float(gap > 0),
        "reference_accuracy": float(reference_gap > 0),
        "gap_over_spread": float(gap > spread),
        "least_gap_over_spread": float(least_gap > spread),
        "margin": margin,
    }
    score = np.dot([0.30, 0.30, 0.20, 0.20, 0.01], list(parts.values()))
    return {"score": float(score), **parts}


def summarise_benchmark(
    kind: Kind,
    questions: Sequence[Scored],
    lengths: Sequence[Scored],
    seed: int,
    bins: int = 10,
    resamples: int = 1_000,
) -> BenchmarkMeasures:
    """The measures of a benchmark, and by subset in `subsets` where questions name subsets.

    `n` counts questions. `score` is the benchmark's own metric, and `score_ci` its 95% bootstrap
    interval over groups of questions, None where no subset has two groups; so for the parts that
    `style_shares` and `tie_score` name. Pairs have `ece`, `nll` and `brier` of the rewards as they
    are, too, and `ece_noise_floor`. `longer_answer` holds the same metrics of preferring the longer
    answer.

    Args:
        lengths: the same questions with the characters of each answer as its score.
        seed: seed of the resampling.

    Raises:
        ValueError: scores that are NaN or infinite.
    """
    every = [np.concatenate([one.right_R, one.wrong_W]) for one in questions]
    if bad := sum(np.count_nonzero(~np.isfinite(score_A)) for score_A in every):
        raise ValueError(f"{bad} of {sum(map(len, every))} scores are NaN or infinite")
    parts, by_length = (_by_subset(kind, which) for which in (questions, lengths))
    measure = partial(_measured, seed=seed, bins=bins, resamples=resamples)
    if kind == "pairs":
        result = measure([_part(kind, questions)], [_part(kind, lengths)])
    else:
        result = measure(list(parts.values()), list(by_length.values()))
    subsets = {
        name: measure([part], [by_length[name]]) for name, part in parts.items() if name is not None
    }
    return {**result, "subsets": subsets} if subsets else result


@dataclass(frozen=True)
class _Part:
    """The metrics of some questions, a value of each for every row: a question, or two of a tie."""

    n: int
    group_N: list[str]
    value_N: dict[str, Floats]
    delta_N: Floats | None
    """Of pairs: right less wrong score."""


def _by_subset(kind: Kind, questions: Sequence[Scored]) -> dict[str | None, _Part]:
    names = sorted({one.subset for one in questions}, key=lambda name: (name is None, name))
    return {name: _part(kind, [one for one in questions if one.subset == name]) for name in names}


def _part(kind: Kind, questions: Sequence[Scored]) -> _Part:
    if kind == "best_of_n" and questions[0].subset == TIES:
        by_id = {one.id: one for one in questions}
        groups = sorted({one.group for one in questions})
        rows = [tie_score(by_id[f"tied:{name}"], by_id[f"ref:{name}"]) for name in groups]
    else:
        groups = [one.group for one in questions]
        metric = style_shares if kind == "rm_bench" else _score
        rows = [metric(one.right_R, one.wrong_W) for one in questions]
    values = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    delta_N = None
    if kind == "pairs":
        delta_N = np.array([one.right_R[0] - one.wrong_W[0] for one in questions])
    return _Part(len(questions), groups, values, delta_N)


def _score(right_R: Floats, wrong_W: Floats) -> dict[str, float]:
    return {"score": best_of_n(right_R, wrong_W)}


def _measured(
    parts: Sequence[_Part], by_length: Sequence[_Part], seed: int, bins: int, resamples: int
) -> BenchmarkMeasures:
    """The mean over parts of each metric that all parts have."""
    drawn = [_replicates(part, seed, bins, resamples) for part in parts]
    several = any(len(set(part.group_N)) > 1 for part in parts)
    longer = {}
    result: BenchmarkMeasures = {"n": sum(part.n for part in parts)}
    for key in [key for key in parts[0].value_N if all(key in part.value_N for part in parts)]:
        values = [part.value_N[key] for part in parts]
        result[key] = fmean(value_N.mean() for value_N in values)
        ends = interval(result[key], np.mean([values_B[key] for values_B in drawn], axis=0))
        # A mean lies between the values, which reflected quantiles do not know.
        least, most = min(map(np.min, values)), max(map(np.max, values))
        result[f"{key}_ci"] = np.clip(ends, least, most).tolist() if several else None
        longer[key] = fmean(part.value_N[key].mean() for part in by_length)
    result["longer_answer"] = longer
    if len(parts) == 1 and parts[0].delta_N is not None:
        result |= _calibration(parts[0].delta_N, drawn[0], several, seed, bins, resamples)
    return result


def _calibration(
    delta_N: Floats, drawn: dict[str, Floats], several: bool, seed: int, bins: int, resamples: int
) -> BenchmarkMeasures:
    """The calibration of pairs whose replicates are drawn."""
    functions = _calibration_functions(bins)
    floor_B = calibrated_replicates({"ece": functions["ece"]}, delta_N, seed, resamples)["ece"]
    result: BenchmarkMeasures = {}
    for key, function in functions.items():
        estimate = result[key] = function(delta_N)
        ends = (
            calibration_interval(estimate, drawn[key], floor_B)
            if key == "ece"
            else interval(estimate, drawn[key])
        )
        result[f"{key}_ci"] = ends if several else None
    return {**result, "ece_noise_floor": float(floor_B.mean())}


def _calibration_functions(bins: int) -> dict[str, Function]:
    return {"ece": partial(ece, bins=bins), "nll": nll, "brier": brier}


def _replicates(part: _Part, seed: int, bins: int, resamples: int) -> dict[str, Floats]:
    """`[B]` values of each metric on groups drawn with replacement, all rows of a group at once."""
    _, number_N = np.unique(part.group_N, return_inverse=True)
    order = np.argsort(number_N, kind="stable")
    size_G = np.bincount(number_N)
    first_G = np.cumsum(size_G) - size_G

    def mean(value_N: Floats) -> Function:
        sum_G = np.bincount(number_N, value_N)
        return lambda draw_G: sum_G[draw_G].sum() / size_G[draw_G].sum()

    def on_rows(function: Function, value_N: Floats) -> Function:
        return lambda draw_G: function(value_N[rows(draw_G)])

    def rows(draw_G: NDArray[np.int64]) -> NDArray[np.int64]:
        size = size_G[draw_G]
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        return order[np.repeat(first_G[draw_G], size) + within]

    measures = {key: mean(value_N) for key, value_N in part.value_N.items()}
    if part.delta_N is not None:
        for key, function in _calibration_functions(bins).items():
            measures[key] = on_rows(function, part.delta_N)
    return replicates(measures, (np.arange(len(size_G)),), seed, resamples)
