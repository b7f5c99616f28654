"""The tables that a job prints at its end; progress bars are in `bars`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from more_ray.data.audit_tables import (
    ABOUT_LENGTHS,
    Rows,
    length_rows,
    pair_rows,
    reject_rows,
)
from more_ray.data.prepared import Prepared
from more_ray.judge.summary import DECIDED
from more_ray.metrics.benchmark_rows import benchmark_notes, benchmark_rows
from more_ray.metrics.choice_rows import ABOUT_CHOICES, choice_rows
from more_ray.metrics.evaluation import Evaluation, Measured, SourceMeasures
from more_ray.metrics.measures import MEASURES, Measure, drawn, ranked
from more_ray.metrics.shown_names import shown_name
from more_ray.metrics.written import interval_text, plus_minus, with_interval

if TYPE_CHECKING:
    import pandas as pd

SIDE_BY_SIDE = 3
"""Up to so many models share a table; with more, each model is a row."""


def _table(*left: str, right: Sequence[str] = (), wrap: bool = False) -> Table:
    """A table without lines; `left` and `right` are its columns, by the alignment of cells."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption_justify="left")
    for column in (*left, *right):
        table.add_column(column, no_wrap=not wrap, justify="right" if column in right else "left")
    return table


def _of_rows(rows: Rows, *left: str, caption: str = "", wrap: bool = False) -> Table:
    """A table of rows, of which the columns `left` come first and hold names."""
    table = _table(*left, right=[key for key in rows[0] if key not in left], wrap=wrap)
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in row.values()))
    table.caption = caption
    return table


def prepared_tables(prepared: Prepared) -> Iterator[Table]:
    """The audit of each source: pairs, doubtful training pairs, lengths, reasons of rejects."""
    counts = prepared.manifest["sources"]
    notes = ""
    for name, count in counts.items():
        if shape := count.get("shape"):
            notes += f"\n{name} was read as {shape}"
        if unread := count.get("unread"):
            notes += f"\nColumns of {name} that are not read: {', '.join(unread)}"
    yield _of_rows(
        pair_rows(counts),
        "source",
        caption="leaked: training pairs with the prompt of a test pair (data.on_leak).\n"
        "twice: repeats of an earlier pair. contradicted: the other answer is preferred, in this "
        f"or another source.{notes}",
    )
    if lengths := length_rows(counts):
        yield _of_rows(lengths, "source", caption=ABOUT_LENGTHS)
    if rejects := reject_rows(counts):
        yield _of_rows(rejects, "source", "rejected because")


def evaluation_tables(evaluations: Mapping[str, Evaluation]) -> list[Table]:
    """The tables that suit the number of models: all measures of few, accuracy and ECE of many.

    The table of benchmarks comes last.
    """
    of_pairs = {name: one for name, one in evaluations.items() if one["sources"]}
    if len(of_pairs) > SIDE_BY_SIDE:
        tables = [matrix_table(of_pairs, measure) for measure in drawn()]
    else:
        tables = [results_table(of_pairs)] if of_pairs else []
    return [*tables, *benchmark_tables(evaluations)]


def benchmark_tables(evaluations: Mapping[str, Evaluation]) -> list[Table]:
    """The benchmarks of all models in one table, if there are any: a row per part and model."""
    by_model = {
        name: one["benchmarks"] for name, one in evaluations.items() if one.get("benchmarks")
    }
    if not by_model:
        return []
    rows = list(benchmark_rows(by_model))
    hidden = {"model"} if len(by_model) == 1 else set()
    columns = [column for column in rows[0] if column not in hidden]
    table = _table(*columns[:-5], right=columns[-5:], wrap=True)
    for _, of_benchmark in groupby(rows, key=itemgetter("benchmark")):
        for row in of_benchmark:
            table.add_row(*(row[column] for column in columns))
        table.add_section()
    table.caption = "\n".join(benchmark_notes(by_model))
    return [table]


def results_table(evaluations: Mapping[str, Measured]) -> Table:
    """Accuracy and calibration of each source, a row per run, with 95% intervals.

    Args:
        evaluations: the content of `eval.json` of each run, by the name to show.
    """
    first = next(iter(evaluations.values()))
    truth = "true_calibration_error" in first["mean"]
    after = [MEASURES["ece_noise_floor"], *([MEASURES["true_calibration_error"]] if truth else [])]
    names = [MEASURES[key].name for key in ("accuracy", "ece")] + [row.name for row in after]
    table = _table("source", "by", *names)
    for source, rows in _by_source(evaluations):
        for position, (name, row) in enumerate(rows.items()):
            table.add_row(
                *(source if position == 0 else "", name),
                plus_minus(row["accuracy"], row["accuracy_ci"]),
                with_interval(row["ece"], row["ece_ci"]),
                *(measure.format(row[measure.key]) for measure in after),
            )
        table.add_row("", "longer one", f"{row['longer_answer_accuracy']:.3f}")
        table.add_section()
    table.caption = (
        f"{first['mean']['n']:,} test pairs. floor: the ECE that a perfectly calibrated model "
        "would show on as many."
        + (" to truth: mean distance to the true preference probability." if truth else "")
    )
    return table


def heads_table(by_head: Mapping[str, Measured]) -> Table:
    """Means over sources by each way to score: a row per way."""
    shown = [MEASURES[key] for key in ("ece_noise_floor", "brier", "nll")]
    table = _table("mean by", "accuracy", "ECE", *(measure.name for measure in shown))
    for name, measured in by_head.items():
        mean = measured["mean"]
        table.add_row(
            name,
            plus_minus(mean["accuracy"], mean["accuracy_ci"]),
            with_interval(mean["ece"], mean["ece_ci"]),
            *(measure.format(mean[measure.key]) for measure in shown),
        )
    table.caption = (
        "posterior: less sure where the fit is. one head for all: MultiTask, with temperatures by "
        "source. left out: each source by the shared head of the others, less sure by its "
        "posterior and by the variance of an unknown drift."
    )
    return table


def matrix_table(evaluations: Mapping[str, Evaluation], measure: Measure) -> Table:
    """A measure of many models: a row per model, a column per source (the paper's Table 2)."""
    sources = next(iter(evaluations.values()))["sources"]
    table = _table(measure.heading, *sources, "mean", "95% interval")
    for column in table.columns[1 : 1 + len(sources)]:
        column.no_wrap = False
    for column in table.columns:
        column.overflow = "fold"
    for name, evaluation in evaluations.items():
        values = [*(evaluation["sources"][source] for source in sources), evaluation["mean"]]
        ends = interval_text(evaluation["mean"][f"{measure.key}_ci"])
        table.add_row(name, *(measure.format(value[measure.key]) for value in values), ends)
    return table


def ranking_table(ranking: pd.DataFrame, rows: int = 20) -> Table:
    """Configurations of a sweep, best first, by the settings that differ between them."""
    measures = ranked()
    varied = [
        column
        for column in ranking.columns
        if column not in ("seeds", *(measure.key for measure in measures))
        and ranking[column].nunique(dropna=False) > 1
    ]
    names = [column.rpartition(".")[2] for column in varied]
    table = _table(*names, "seeds", *(measure.name for measure in measures))
    for column in table.columns[: len(varied)]:
        # Lists of sources are long.
        column.no_wrap, column.max_width, column.overflow = False, 20, "fold"
    for row in ranking.head(rows).to_dict("records"):
        values = [
            f"{row[key]:.3g}"
            if isinstance(row[key], float)
            else shown_name(str(row[key])).replace("+", " ")
            for key in varied
        ]
        numbers = (measure.format(row[measure.key]) for measure in measures)
        table.add_row(*values, str(row["seeds"]), *numbers)
    if len(ranking) > rows:
        table.caption = f"The first {rows} of {len(ranking)} configurations."
    return table


def calibration_table(evaluation: Evaluation) -> Table:
    """Further measures of calibration: other definitions, and after a fitted temperature."""
    columns = [
        measure
        for measure in MEASURES.values()
        if measure.key == "temperature"
        or (measure.better and measure.key != "accuracy" and not measure.needs_truth)
    ]
    table = _table("source", *(measure.name for measure in columns))
    for source, rows in _by_source({"": evaluation}):
        row = rows[""]
        table.add_row(source, *(measure.format(row[measure.key]) for measure in columns))
    table.caption = (
        "T: the temperature fitted to a source's other half; 1,000, the most, where more of it is "
        "ranked wrong than right."
    )
    return table


def differences_table(evaluation: Evaluation, means_only: bool = False) -> Table:
    """A model minus another on the same pairs, with 95% intervals and p-values."""
    against = evaluation["against"]
    table = _table("source", "measure", "difference", "95% interval", "p")
    by_source = {} if means_only else against["sources"]
    for source, rows in [*by_source.items(), ("mean", against["mean"])]:
        for position, (key, row) in enumerate(rows.items()):
            table.add_row(
                *(source if position == 0 else "", key, f"{row['difference']:+.3f}"),
                *(interval_text(row["ci"], "+.3f", " to "), f"{row['p']:.3f}"),
            )
        table.add_section()
    table.caption = f"Minus the values of {against['path']}, pair by pair."
    return table


def samples_table(summary: Mapping[str, Any]) -> Table:
    """The content of `summary.json`."""
    table = _table("of", "prompts", "samples", "mean reward")
    prompts, samples = summary["prompts"], summary["samples"]
    best = prompts - summary["prompts_without_answer"]
    for name, asked, drawn_of, reward in (
        ("all samples", prompts, samples, summary["mean_reward"]),
        ("the best", best, best, summary["mean_reward_of_best"]),
    ):
        table.add_row(name, f"{asked:,}", f"{drawn_of:,}", with_interval(reward, None))
    table.caption = (
        f"Of the samples {summary['duplicates']:.1%} repeat another of their prompt, "
        f"{summary['empty']:.1%} are empty and {summary['unfinished']:.1%} were cut off; "
        f"{summary['mean_tokens']:.0f} tokens on average."
    )
    return table


def choices_tables(summary: Mapping[str, Any]) -> list[Table]:
    """What each population gains by each rule of choosing, where the model has several heads."""
    rows = choice_rows(summary)
    if not rows:
        return []
    table = _table(*rows[0], wrap=True)
    for row in rows:
        table.add_row(*row.values())
    table.caption = ABOUT_CHOICES
    return [table]


def perplexity_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """Perplexities of held-out answers, from the `eval.json` of each policy."""
    columns = ("perplexity", "of an answer, mean", "median", "outliers", "answers")
    table = _table("source", "policy", right=columns, wrap=True)
    for source in next(iter(evaluations.values()))["sources"]:
        for name, evaluation in evaluations.items():
            measures = evaluation["sources"][source]
            table.add_row(
                *(source, name),
                with_interval(measures["perplexity"], measures["perplexity_ci"], ".2f"),
                *(f"{measures['answer_perplexity']:.2f}", f"{measures['median_perplexity']:.2f}"),
                *(f"{measures['outliers']}", f"{measures['n']:,}"),
            )
    table.caption = (
        "perplexity: over all tokens, with its 95% interval; of an answer: each answer's own "
        "perplexity; outliers: answers far above the others (Tukey's fence)."
    )
    return table


def judge_table(result: Mapping[str, Any]) -> Table:
    """The content of `judge.json`, a row per outcome."""
    table = _table(f"more {result['criterion']}", right=("pairs", "share", "95% interval"))
    for name in DECIDED:
        row = [name, f"{result[name]:,}"]
        if shares := result["shares"]:
            row += [f"{shares[name]['share']:.3f}", interval_text(shares[name]["ci"])]
        table.add_row(*row)
    if result["win_rate"] is not None:
        rate, ends = result["win_rate"], result["win_rate_ci"]
        table.add_row("win + tie/2", "", f"{rate:.3f}", interval_text(ends))
    table.caption = f"{result['unparsable']:,} of {result['pairs']:,} pairs unparsable."
    return table


def alignment_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """The content of `align.json`: counts of the judge, and a column per policy."""
    from more_ray.report.align_page import (  # imports matplotlib
        as_shown,
        best_rows,
        gold_rows,
        measure_rows,
        win_rate,
    )

    result = as_shown(result)
    if result["judgements"]:
        columns = (*DECIDED, "unread", "win rate")
        table = _table("policy", "against", "more", right=columns, wrap=True)
        for judgement in result["judgements"]:
            counts = (str(judgement[name]) for name in (*DECIDED, "unparsable"))
            names = (judgement["policy"], judgement["other"], judgement["criterion"])
            table.add_row(*names, *counts, win_rate(judgement))
        yield table
    if chosen := best_rows(result):
        caption = "What the best answer gains over their mean, by the gold reward model."
        yield _of_rows(chosen, "chosen by", caption=caption, wrap=True)
    if preferred := gold_rows(result):
        yield _of_rows(preferred, "policies", "by", caption="By the gold reward model.", wrap=True)
    rows = measure_rows(result)
    table = _table("", *(row["policy"] for row in rows), wrap=True)
    for measure in list(rows[0])[1:]:
        table.add_row(measure, *(row[measure] for row in rows))
    yield table


def _by_source(
    named: Mapping[str, Measured],
) -> Iterator[tuple[str, dict[str, SourceMeasures]]]:
    """Each source and what every evaluation says of it, the mean last."""
    for source in next(iter(named.values()))["sources"]:
        yield source, {name: evaluation["sources"][source] for name, evaluation in named.items()}
    yield "mean", {name: evaluation["mean"] for name, evaluation in named.items()}
