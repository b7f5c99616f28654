"""The report on models: one self-contained page, no script, no network, fit for phones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from more_ray import storage
from more_ray.data.audit_tables import (
    ABOUT_LENGTHS,
    Counts,
    length_rows,
    pair_rows,
    reject_rows,
    without_zeros,
)
from more_ray.errors import UserError
from more_ray.metrics.baselines import with_temperature
from more_ray.metrics.benchmark_rows import benchmark_notes, benchmark_rows
from more_ray.metrics.benchmarks import BenchmarkMeasures
from more_ray.metrics.evaluation import Differences, SourceMeasures, by_head
from more_ray.metrics.measures import MEASURES, ranked, shown
from more_ray.metrics.outliers import outliers
from more_ray.metrics.shown_names import MULTITASK
from more_ray.metrics.summary import compare
from more_ray.metrics.written import interval_text, with_interval
from more_ray.report.beside import CLAIMS
from more_ray.report.contested import most_contested
from more_ray.report.drawing import Rows
from more_ray.report.models import Model, mixtures
from more_ray.report.run_figures import further_figures, main_figures, measures_of
from more_ray.report.surest import surest_rows
from more_ray.report.templates import render
from more_ray.report.verdict import verdict
from more_ray.report.words import explained, listed

BRIEF = ("accuracy", "ece", "ece_noise_floor", "nll")
"""The measures of the first table."""
RESAMPLES = 500
"""Draws of each comparison, at least."""


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
            title=f"Benchmarks of {listed(list(benchmarks))}",
            verdict=_benchmarks_verdict(benchmarks),
            rows=rows,
            notes=notes,
        )
    first, mixed, sources = models[0], mixtures(models), list(models[0].first.scores)
    differences = _differences(first, mixed)
    table = first.first.disagreements
    heads = _head_rows(first)
    counts = (first.first.environment or {}).get("data") or {}
    data, zeros = without_zeros(_data_rows(counts))
    return render(
        "page.html.j2",
        title=f"Reward model {first.name}",
        subtitle=_subtitle(models),
        verdict=verdict(models, differences),
        first=first,
        measures=_measures_rows(models, BRIEF),
        further_measures=_measures_rows(
            models, [row.key for row in shown() if row.key not in BRIEF]
        ),
        surest=surest_rows(mixed),
        heads=heads,
        contested=None if table is None else most_contested(table),
        seeds=[_seed_row(model) for model in models if len(model.runs) > 1],
        subsets=[
            {
                "source": name,
                "subset": subset,
                **_named(model, models),
                **_subset_cells(model, name, subset),
            }
            for name in sources
            for model in mixed
            for subset in model.evaluation["sources"][name].get("subsets", {})
        ],
        benchmarks=rows,
        benchmark_notes=notes,
        data=data,
        zeros=zeros,
        lengths=length_rows(counts),
        about_lengths=ABOUT_LENGTHS,
        rejects=reject_rows(counts),
        outliers=[
            {"source": name, **_named(model, models), **_outlier_cells(model, name)}
            for name in sources
            for model in mixed
        ],
        differences=[
            {
                "minus": other,
                "measure": MEASURES[key].name,
                "difference": f"{difference['difference']:+.3f}",
                "95% interval": interval_text(difference["ci"], "+.3f", " to "),
                "p": difference["p"],
            }
            for other, measures in differences.items()
            for key, difference in measures.items()
        ],
        figures=list(main_figures(models)),
        further_figures=list(further_figures(models)),
        models=models,
        words=explained(
            [
                *(model.name for model in models),
                *differences,
                *(["lam"] if first.trained_on else []),
                *(text for row in heads for text in ("head", "shared", str(row["mean by"]))),
            ]
        ),
    )


def _subtitle(models: Sequence[Model]) -> str:
    """What the page is about: the test pairs, the other models, the day."""
    first = models[0]
    sources = list(first.first.scores)
    pairs = sum(len(scores.pair_N) for scores in first.first.scores.values())
    several = f"{len(sources)} sources, {listed(sources)}" if len(sources) > 1 else sources[0]
    text = f"Tested on {pairs:,} pairs of {several}."
    if others := [model.name for model in models[1:] if not model.single]:
        text += f" Beside it: {listed(others)}."
    if alone := sum(model.single for model in models):
        text += f" Models of one source: {alone}."
    started = (first.first.environment or {}).get("started")
    return f"{text} Made on {started.partition('T')[0]}." if started else text


def _differences(first: Model, mixed: Sequence[Model]) -> dict[str, Differences]:
    """The means over sources of the first model less those of others that serve all sources, also
    less MultiTask's with temperatures, and less what it was compared with when it was made."""
    others = {model.name: model.scores for model in mixed if model is not first}
    if MULTITASK in others:
        others[f"{MULTITASK} + temperature"] = [
            with_temperature(scores, seed=0) for scores in others[MULTITASK]
        ]
    # So that the least p is below what `beside` asks for, also with what it was compared with.
    resamples = max(RESAMPLES, 20 * len(CLAIMS) * (len(others) + 1))
    try:
        found = {
            name: compare(first.scores, scores, seed=0, resamples=resamples)["mean"]
            for name, scores in others.items()
        }
    except ValueError as error:
        raise UserError(f"runs: {error}") from error
    against = first.evaluation.get("against")
    return {against["path"]: against["mean"], **found} if against else found


def _measures_rows(models: Sequence[Model], keys: Sequence[str]) -> Rows:
    """A row per source and model, the means first; of models of one source only their own."""
    mixed = mixtures(models)
    return [
        {
            "source": f"{'mean over sources' if name == 'mean' else name} ({found['n']:,} pairs)",
            **_named(model, models),
            # Runs of earlier versions lack some measures.
            **{
                MEASURES[key].name: _cell(found, key)
                for key in keys
                # That of the longer answer is the same for all models.
                if key in found and (key != "longer_answer_accuracy" or model is models[0])
            },
        }
        for name in ["mean", *models[0].first.scores]
        for model in models
        if model in mixed or model.trained_on == [name]
        for found in [measures_of(model, name)]
    ]


def _named(model: Model, models: Sequence[Model]) -> dict[str, str]:
    """The cell with a model's name, where there are several."""
    return {"model": model.name} if len(models) > 1 else {}


def _head_rows(model: Model) -> Rows:
    """Means over sources by each way to score; none unless heads were fitted to each source."""
    ways = by_head(model.evaluation)
    if len(ways) == 1:
        return []
    return [
        {"mean by": name, **{row.name: _cell(measured["mean"], row.key) for row in ranked()}}
        for name, measured in ways.items()
    ]


def _seed_row(model: Model) -> dict[str, Any]:
    means = [run.evaluation["mean"] for run in model.runs]
    return {"model": model.name, "seeds": len(means)} | {
        MEASURES[key].name: interval_text([min(values), max(values)], to=" to ")
        for key in ("accuracy", "ece", "nll")
        for values in [[mean[key] for mean in means]]
    }


def _outlier_cells(model: Model, source: str) -> dict[str, Any]:
    scores = model.first.scores[source]
    found = outliers(scores.delta_N, scores.labels.get("share_N"))
    return {
        f"{side} {title}": found[f"{side}_{key}"]
        for side in ("positive", "negative")
        for key, title in (("outliers", "outliers"), ("outlier_mean", "mean"))
    }


def _subset_cells(model: Model, source: str, subset: str) -> dict[str, Any]:
    measures = model.evaluation["sources"][source]["subsets"][subset]
    return {
        "pairs": measures["n"],
        "accuracy": _cell(measures, "accuracy"),
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


def _cell(measures: SourceMeasures, key: str) -> str | float:
    """The value of a measure, with its interval where figures show it."""
    value = measures[key]
    return with_interval(value, measures[f"{key}_ci"]) if MEASURES[key].mark else value
