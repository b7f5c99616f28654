"""The rows of tables of benchmarks, for the terminal and for pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from more_ray.metrics.benchmarks import BenchmarkMeasures
from more_ray.metrics.written import with_interval

RM_BENCH_PARTS = ("easy", "normal", "hard")
NOTE = (
    "n: questions. score: the share of them where a right answer has the highest score (a tie of k "
    "counts 1/k); in RM-Bench the mean of its 3 x 3 comparisons of styles. all: of RewardBench 2 "
    "and RM-Bench the mean over subsets, of others over questions. longer: the same for the longer "
    "answer. floor: the ECE that a perfectly calibrated model would show on as many pairs."
)
"""What the columns mean."""


def benchmark_rows(
    by_model: Mapping[str, Mapping[str, BenchmarkMeasures]],
) -> Iterator[dict[str, str]]:
    """A row for each benchmark, part of it and model: all questions, then subsets, then styles.

    Args:
        by_model: `benchmarks` of `eval.json`, by the name of the model.
    """
    for name in dict.fromkeys(name for found in by_model.values() for name in found):
        models = {model: found[name] for model, found in by_model.items() if name in found}
        for part in dict.fromkeys(part for one in models.values() for part in _parts(one)):
            for model, measures in models.items():
                if row := _parts(measures).get(part):
                    yield {"benchmark": name, "part": part, "model": model, **row}


def benchmark_notes(by_model: Mapping[str, Mapping[str, BenchmarkMeasures]]) -> list[str]:
    """The lines below the table: what the columns mean, and how each file was read."""
    notes = (_reading(name, one) for found in by_model.values() for name, one in found.items())
    return [NOTE, *dict.fromkeys(notes)]


def _reading(name: str, one: BenchmarkMeasures) -> str:
    """What a file was taken for, how many of its answers were cut, and what was rejected."""
    note = f"{name}: read as {one['read_as']}"
    if one["cut"]:
        note += (
            f"; {one['cut']:,} of {one['answers']:,} answers lost their beginning (data.max_length)"
        )
    if rejected := one["rejected"]:
        reasons = ", ".join(f"{number} {reason}" for reason, number in rejected.items())
        note += f"; rejected: {reasons}"
    return f"{note}."


def _parts(measures: BenchmarkMeasures) -> dict[str, dict[str, str]]:
    parts = {"all": _row(measures, "score")}
    for name, subset in measures.get("subsets", {}).items():
        parts[name] = _row(subset, "score")
    return parts | {key: _row(measures, key) for key in RM_BENCH_PARTS if key in measures}


def _row(measures: BenchmarkMeasures, key: str) -> dict[str, str]:
    has_ece = "ece" in measures
    return {
        "n": f"{measures['n']:,}",
        "score": with_interval(measures[key], measures[f"{key}_ci"]),
        "longer": f"{measures['longer_answer'][key]:.3f}",
        "ECE": with_interval(measures["ece"], measures["ece_ci"]) if has_ece else "",
        "floor": f"{measures['ece_noise_floor']:.3f}" if has_ece else "",
    }
