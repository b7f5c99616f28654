"""What a person sees: one progress bar, and the tables at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

console = Console()


class RunProgress:
    """One bar for a whole run: its phase, then loss, lam of each source, speed and time left."""

    def __init__(self, title: str) -> None:
        self._bar = Progress(
            TextColumn("[bold]{task.fields[title]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
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

    def prepared(self, pairs: int) -> None:
        self.phase(f"preparing data: {pairs:,} pairs")

    def show(self, state: Mapping[str, Any], steps: int) -> None:
        """The newest state of the run's log."""
        assert self._task is not None
        if "step" not in state:
            return self.phase(state["phase"])
        done = state["step"] + 1
        self._bar.update(self._task, completed=done, total=steps)
        if state["phase"] != "training":
            return self.phase(state["phase"])
        lam = " ".join(f"{value:.2f}" for value in state["lam"].values())
        left = (steps - done) * state["seconds"]
        return self.phase(
            f"step {done}/{steps}  loss {state['loss']:.3f}  lam {lam}  "
            f"{state['pairs_per_s']:.0f} pairs/s  {_clock(left)} left"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def results_table(evaluations: Mapping[str, Mapping[str, Any]]) -> Table:
    """Accuracy and ECE of each source, one pair of columns a run.

    Args:
        evaluations: the content of `eval.json` of each run, by the name to show.
    """
    first = next(iter(evaluations.values()))
    truth = "true_calibration_error" in first["mean"]
    table = Table(title="test pairs: accuracy and calibration", title_justify="left")
    table.add_column("source")
    table.add_column("pairs", justify="right")
    table.add_column("longer wins", justify="right")
    for name in evaluations:
        table.add_column(f"{name}\naccuracy", justify="right")
        table.add_column(f"{name}\nECE (95% interval)", justify="right")
        if truth:
            table.add_column(f"{name}\nerror to truth", justify="right")
    for source in [*first["sources"], None]:
        rows = [_measures(one, source) for one in evaluations.values()]
        if source is None:
            table.add_section()
        cells = [f"{rows[0]['n']:,}", f"{rows[0]['longer_answer_accuracy']:.3f}"]
        for row in rows:
            cells += _cells(row, truth)
        table.add_row(source or "mean", *cells)
    floor = first["mean"]["ece_noise_floor"]
    table.caption = f"A perfectly calibrated model would show an ECE of about {floor:.3f} here."
    table.caption_justify = "left"
    return table


def _measures(evaluation: Mapping[str, Any], source: str | None) -> Mapping[str, Any]:
    return evaluation["mean"] if source is None else evaluation["sources"][source]


def _cells(row: Mapping[str, Any], truth: bool) -> list[str]:
    ece = f"{row['ece']:.3f}"
    if "ece_ci" in row:
        low, high = row["ece_ci"]
        ece += f" ({low:.3f}-{high:.3f})"
    low, high = row["accuracy_ci"]
    cells = [f"{row['accuracy']:.3f} ({low:.3f}-{high:.3f})", ece]
    if truth:
        cells.append(f"{row['true_calibration_error']:.3f}")
    return cells
