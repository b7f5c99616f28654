"""The report on models: one self-contained page, no script, no network, fit for phones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from more_ray import storage
from more_ray.data.audit_tables import ABOUT_LENGTHS, Counts, length_rows, pair_rows, reject_rows
from more_ray.errors import UserError
from more_ray.metrics.baselines import with_temperature
from more_ray.metrics.benchmark_rows import benchmark_notes, benchmark_rows
from more_ray.metrics.benchmarks import BenchmarkMeasures
from more_ray.metrics.evaluation import Differences, SourceMeasures, by_head
from more_ray.metrics.measures import MEASURES, Measure, ranked, shown
from more_ray.metrics.outliers import outliers
from more_ray.metrics.summary import compare
from more_ray.metrics.written import interval_text, with_interval
from more_ray.report.contested import most_contested
from more_ray.report.drawing import Rows
from more_ray.report.models import Model, mixtures
from more_ray.report.run_figures import make_figures
from more_ray.report.templates import render

RESAMPLES = 500
"""Draws of each comparison."""


def write_report(models: Sequence[Model], uri: str) -> None:
    """Write the page about `models`; its main subject is the first.

    Raises:
        UserError: the models were not evaluated on the same pairs.
    """
    storage.write_text(uri, render_page(models))


def render_page(models: Sequence[Model]) -> str:
    """The page as HTML; raises as `write_report` does."""
    benchmarks = {
        model.name: model.evaluation["benchmarks"]
        for model in models
        if "benchmarks" in model.evaluation
    }
    rows, notes = list(benchmark_rows(benchmarks)), benchmark_notes(benchmarks)
    models = [model for model in models if model.first.scores]
    if not models:
        return render(
            "benchmarks.html.j2",
            title=f"Benchmarks of {_listed(list(benchmarks))}",
            verdict=_benchmarks_verdict(benchmarks),
            rows=rows,
            notes=notes,
        )
    differences = _differences(models)
    sources = list(models[0].first.scores)
    mixed = mixtures(models)
    table = models[0].first.disagreements
    counts = (models[0].first.environment or {}).get("data") or {}
    return render(
        "page.html.j2",
        title=f"{models[0].name} on {_listed(sources)}",
        verdict=_verdict(models[0], differences),
        first=models[0],
        measures=[
            _measures_row(model, name)
            for name in [*sources, "mean"]
            for model in models
            if model in mixed or model.trained_on == [name]
        ],
        heads=_head_rows(models[0]),
        contested=None if table is None else most_contested(table),
        seeds=[_seed_row(model) for model in models if len(model.runs) > 1],
        subsets=[
            _subset_row(model, name, subset)
            for name in sources
            for model in mixed
            for subset in model.evaluation["sources"][name].get("subsets", {})
        ],
        benchmarks=rows,
        benchmark_notes=notes,
        data=_data_rows(counts),
        lengths=length_rows(counts),
        about_lengths=ABOUT_LENGTHS,
        rejects=reject_rows(counts),
        outliers=[_outlier_row(model, name) for name in sources for model in mixed],
        differences=[
            {
                "minus": other,
                "measure": key,
                "difference": f"{difference['difference']:+.3f}",
                "95% interval": interval_text(difference["ci"], "+.3f", " to "),
                "p": difference["p"],
            }
            for other, measures in differences.items()
            for key, difference in measures.items()
        ],
        figures=list(make_figures(models)),
        models=models,
    )


def _differences(models: Sequence[Model]) -> dict[str, Differences]:
    """Comparisons of the means over sources; MultiTask also with temperatures fitted to sources."""
    others = {model.name: model.scores for model in models[1:]}
    if "proportional" in others:
        others["proportional + temperature"] = [
            with_temperature(scores, seed=0) for scores in others["proportional"]
        ]
    try:
        return {
            name: compare(models[0].scores, scores, seed=0, resamples=RESAMPLES)["mean"]
            for name, scores in others.items()
        }
    except ValueError as error:
        raise UserError(f"runs: {error}") from error


def _measures_row(model: Model, source: str) -> dict[str, Any]:
    evaluation = model.evaluation
    measures = evaluation["mean"] if source == "mean" else evaluation["sources"][source]
    return {
        "source": source,
        "model": model.name,
        "pairs": measures["n"],
        # Runs of earlier versions lack some measures.
        **{row.name: _cell(measures, row) for row in shown() if row.key in measures},
    }


def _head_rows(model: Model) -> Rows:
    """Means over sources by each way to score; none unless heads were fitted to each source."""
    ways = by_head(model.evaluation)
    if len(ways) == 1:
        return []
    return [
        {"mean by": name, **{row.name: _cell(measured["mean"], row) for row in ranked()}}
        for name, measured in ways.items()
    ]


def _seed_row(model: Model) -> dict[str, Any]:
    means = [run.evaluation["mean"] for run in model.runs]
    return {"model": model.name, "seeds": len(means)} | {
        MEASURES[key].name: interval_text([min(values), max(values)], to=" to ")
        for key in ("accuracy", "ece", "nll")
        for values in [[mean[key] for mean in means]]
    }


def _outlier_row(model: Model, source: str) -> dict[str, Any]:
    scores = model.first.scores[source]
    found = outliers(scores.delta_N, scores.labels.get("share_N"))
    return {
        "source": source,
        "model": model.name,
        **{
            f"{side} {title}": found[f"{side}_{key}"]
            for side in ("positive", "negative")
            for key, title in (("outliers", "outliers"), ("outlier_mean", "mean"))
        },
    }


def _subset_row(model: Model, source: str, subset: str) -> dict[str, Any]:
    measures = model.evaluation["sources"][source]["subsets"][subset]
    return {
        "source": source,
        "subset": subset,
        "model": model.name,
        "pairs": measures["n"],
        "accuracy": _cell(measures, MEASURES["accuracy"]),
        "ECE": measures["ece"],
    }


def _benchmarks_verdict(by_model: Mapping[str, Mapping[str, BenchmarkMeasures]]) -> str:
    return " ".join(
        f"{model} scores {with_interval(one['score'], one['score_ci'], to=' to ')} on {name}, the "
        f"longer answer {one['longer_answer']['score']:.3f}."
        for model, found in by_model.items()
        for name, one in found.items()
    )


def _data_rows(counts: Counts) -> Rows:
    """What preparation counted, with the columns that it did not read, if any."""
    rows = pair_rows(counts)
    if any(count.get("unread") for count in counts.values()):
        for row in rows:
            row["not read"] = ", ".join(counts[row["source"]].get("unread", []))
    return rows


def _cell(measures: SourceMeasures, row: Measure) -> str | float:
    """The value of a measure, with its interval where figures show it."""
    value = measures[row.key]
    return with_interval(value, measures[f"{row.key}_ci"]) if row.mark else value


def _verdict(model: Model, differences: dict[str, Differences]) -> str:
    """The page's first sentences: what the results support."""
    mean = model.evaluation["mean"]
    sentence = (
        f"{model.name} prefers the answer that people chose in {mean['accuracy']:.1%} of pairs "
        f"({interval_text(mean['accuracy_ci'], '.1%', ' to ')}); "
    )
    end = mean["ece_ci"][1]
    start = min(run.evaluation["mean"]["ece_ci"][0] for run in model.runs)
    sentence += (
        f"no miscalibration was found (ECE {mean['ece']:.3f}, noise floor "
        f"{mean['ece_noise_floor']:.3f}, true value at most {end:.3f})."
        if start == 0
        else f"it is miscalibrated (ECE {mean['ece']:.3f}, true value {start:.3f} to {end:.3f})."
    )
    multitask = {
        other: measures for other, measures in differences.items() if "proportional" in other
    }
    shown = multitask or differences
    level = 0.05 / max(1, 2 * len(shown))  # accuracy and ECE of each: Bonferroni
    comparisons = {other: _comparison(measures, level) for other, measures in shown.items()}
    for other, words in comparisons.items():
        if words:
            sentence += f" It is {words} than {other}."
    if equal := [other for other, words in comparisons.items() if not words]:
        sentence += f" These test pairs do not distinguish it from {_listed(equal)}."
    return sentence


def _comparison(measures: Differences, level: float) -> str:
    """The differences with p < `level`, in words."""
    return _listed(
        [
            f"{better if (difference['difference'] > 0) == (key == 'accuracy') else worse} "
            f"({difference['difference']:+.3f}, {interval_text(difference['ci'], '+.3f', ' to ')})"
            for key, better, worse in (
                ("accuracy", "more accurate", "less accurate"),
                ("ece", "better calibrated", "worse calibrated"),
            )
            for difference in [measures[key]]
            if difference["p"] < level
        ]
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
