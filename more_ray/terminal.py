"""What a person sees: one progress bar, and the tables at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from more_ray.data.audit import AUDITED
from more_ray.data.prepared import Prepared

console = Console()
SIDE_BY_SIDE = 3
"""More models than these are shown as a row each."""


class RunProgress:
    """One bar for a whole run: its phase, then loss, lam of each source, speed and time left."""

    _noted: ClassVar[set[str]] = set()

    def __init__(self, title: str, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("[bold]{task.fields[title]}"),
            BarColumn(bar_width=12),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            disable=quiet,
        )
        self._title = title
        self._task: TaskID | None = None

    def __enter__(self) -> RunProgress:
        self._bar.__enter__()
        self._task = self._bar.add_task("", total=None, title=self._title)
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)

    def phase(self, text: str) -> None:
        assert self._task is not None
        self._bar.update(self._task, description=text)

    def scored(self, done: int, pairs: int) -> None:
        assert self._task is not None
        self._bar.update(self._task, completed=done, total=pairs)
        self.phase(f"{done:,}/{pairs:,} pairs scored")

    def note(self, text: str) -> None:
        """A line that stays, above the bar; the same one is shown once."""
        if not self._bar.disable and text not in self._noted:
            self._noted.add(text)
            self._bar.console.print(text, highlight=False)

    def prepared(self, pairs: int) -> None:
        self.phase(f"preparing data: {pairs:,} pairs")

    def show(self, state: Mapping[str, Any], steps: int) -> None:
        """The newest state of the run's log."""
        assert self._task is not None
        text, line = state["phase"], state["line"]
        if line:
            done = line["step"] + 1
            self._bar.update(self._task, completed=done, total=steps)
            if text == "training":
                text = f"{done}/{steps}  {_learnt(line)}"
        if state["skipped_steps"]:
            text += f"  {state['skipped_steps']} skipped"
        self.phase(text)


def _learnt(line: Mapping[str, Any]) -> str:
    if line["loss"] is None:
        return "loss or gradient not finite"
    lam = " ".join(f"{value:.2f}".lstrip("0") for value in line["lam"].values())
    return f"loss {line['loss']:.3f}  lam {lam}  {line['pairs_per_s']:.0f} pairs/s"


def prepared_table(prepared: Prepared) -> Table:
    """Pairs, rejects, and what is doubtful of the training pairs of each source."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("source", "train", "test", "rejected", *AUDITED.values()):
        table.add_column(column, justify="left" if column == "source" else "right")
    unread = ""
    for name, count in prepared.manifest["sources"].items():
        rejected = sum(count["rejected"].values())
        numbers = [count["train"], count["test"], rejected, *(count[key] for key in AUDITED)]
        table.add_row(name, *(f"{number:,}" for number in numbers))
        if columns := count.get("unread"):
            unread += f"\nColumns of {name} that are not read: {', '.join(columns)}"
    table.caption = (
        "leaked: training pairs with the prompt of a test pair (data.on_leak).\n"
        "twice: given before. contradicted: the other answer is preferred, in this source or by "
        "others.\n"
        f"Each reject with its reason: {prepared.folder}/rejects.jsonl{unread}"
    )
    table.caption_justify = "left"
    return table


def evaluation_tables(evaluations: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """What fits the number of models: all measures of few, or accuracy and ECE of many."""
    if len(evaluations) <= SIDE_BY_SIDE:
        return [results_table(evaluations)]
    return [
        matrix_table(evaluations, "accuracy", "Accuracy"),
        matrix_table(evaluations, "ece", "ECE"),
    ]


def results_table(evaluations: Mapping[str, Mapping[str, Any]]) -> Table:
    """Accuracy and calibration of each source, a row a run, with 95% intervals.

    Args:
        evaluations: the content of `eval.json` of each run, by the name to show.
    """
    first = next(iter(evaluations.values()))
    truth = "true_calibration_error" in first["mean"]
    truth_column = ["to truth"] if truth else []
    table = _plain_table("source", "by", "accuracy", "ECE", "floor", *truth_column)
    for source in [*first["sources"], None]:
        rows = {name: _measures(one, source) for name, one in evaluations.items()}
        for position, (name, row) in enumerate(rows.items()):
            table.add_row((source or "mean") if position == 0 else "", name, *_cells(row, truth))
        table.add_row("", "longer one", f"{row['longer_answer_accuracy']:.3f}")
        table.add_section()
    table.caption = (
        f"{first['mean']['n']:,} test pairs. floor: the ECE that a perfectly calibrated model "
        "would show on as many."
        + (" to truth: mean distance to the true preference probability." if truth else "")
    )
    table.caption_justify = "left"
    return table


def matrix_table(evaluations: Mapping[str, Mapping[str, Any]], key: str, title: str) -> Table:
    """One measure of many models: a row a model, a column a source (the paper's Table 2)."""
    first = next(iter(evaluations.values()))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in (title, *first["sources"], "mean", "95% interval"):
        table.add_column(column, overflow="fold", no_wrap=column not in first["sources"])
    for name, one in evaluations.items():
        low, high = one["mean"][f"{key}_ci"]
        table.add_row(
            name,
            *(f"{source[key]:.3f}" for source in one["sources"].values()),
            f"{one['mean'][key]:.3f}",
            f"{low:.3f}-{high:.3f}",
        )
    return table


def ranking_table(ranked: pd.DataFrame, shown: int = 20) -> Table:
    """Configurations of a sweep, best first, by the settings that differ between them."""
    measures = ["seeds", "accuracy", "ece", "ece_noise_floor", "brier", "nll"]
    varied = [
        column
        for column in ranked.columns
        if column not in measures and ranked[column].nunique(dropna=False) > 1
    ]
    names = [column.rpartition(".")[2] for column in [*varied, *measures]]
    table = _plain_table(*(name.replace("ece_noise_floor", "floor") for name in names))
    for column in table.columns[: len(varied)]:
        column.no_wrap, column.max_width, column.overflow = False, 20, "fold"  # of many names
    for row in ranked.head(shown).to_dict("records"):
        values = [
            f"{row[key]:.3g}" if isinstance(row[key], float) else str(row[key]).replace("+", " ")
            for key in varied
        ]
        values += [f"{row[key]:.3f}" if key != "seeds" else str(row[key]) for key in measures]
        table.add_row(*values)
    if len(ranked) > shown:
        table.caption = f"The first {shown} of {len(ranked)} configurations."
        table.caption_justify = "left"
    return table


def calibration_table(evaluation: Mapping[str, Any]) -> Table:
    """Of one model: calibration errors by other definitions, and after one fitted temperature."""
    table = _plain_table(
        "source", "ECE", "adaptive", "debiased", "Brier", "NLL", "T", "ECE at T", "NLL at T"
    )
    for name, row in [*evaluation["sources"].items(), ("mean", evaluation["mean"])]:
        keys = ("ece", "adaptive_ece", "debiased_ece", "brier", "nll")
        after = ("temperature", "ece_at_temperature", "nll_at_temperature")
        table.add_row(name, *(f"{row[key]:.3f}" for key in (*keys, *after)))
    table.caption = "T: the temperature fitted to a source's other half, what one scalar gives."
    table.caption_justify = "left"
    return table


def differences_table(evaluation: Mapping[str, Any]) -> Table:
    """One model less another on the same pairs, with 95% intervals and p-values."""
    against = evaluation["against"]
    table = _plain_table("source", "measure", "difference", "95% interval", "p")
    for name, measures in [*against["sources"].items(), ("mean", against["mean"])]:
        for position, (key, row) in enumerate(measures.items()):
            table.add_row(
                name if position == 0 else "",
                key,
                f"{row['difference']:+.3f}",
                "{:+.3f} to {:+.3f}".format(*row["ci"]),
                f"{row['p']:.3f}",
            )
        table.add_section()
    table.caption = f"Less those of {against['path']}, pair by pair."
    table.caption_justify = "left"
    return table


def _plain_table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _measures(evaluation: Mapping[str, Any], source: str | None) -> Mapping[str, Any]:
    return evaluation["mean"] if source is None else evaluation["sources"][source]


def _cells(row: Mapping[str, Any], truth: bool) -> list[str]:
    low, high = row["accuracy_ci"]
    accuracy = f"{row['accuracy']:.3f} ±{(high - low) / 2:.3f}"
    ece = "{:.3f} ({:.3f}-{:.3f})".format(row["ece"], *row["ece_ci"])
    cells = [accuracy, ece, f"{row['ece_noise_floor']:.3f}"]
    return [*cells, f"{row['true_calibration_error']:.3f}"] if truth else cells
