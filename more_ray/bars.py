"""The progress bars of a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(markup=False)  # names and paths may have brackets
if console.is_jupyter and not find_spec("ipywidgets"):
    # rich would print warnings in place of bars; this prints each bar once, at its end.
    console = Console(markup=False, force_jupyter=False, force_terminal=False)


class RunProgress:
    """One bar for a whole run: its phase, then loss, lam of each source, speed and time left."""

    _noted: ClassVar[set[str]] = set()

    def __init__(self, title: str, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("{task.fields[title]}", style="bold", markup=False),
            BarColumn(bar_width=12),
            TextColumn("{task.description}", markup=False),
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
        self._counted(done, pairs, "pairs")

    def answered(self, done: int, answers: int) -> None:
        self._counted(done, answers, "answers")

    def _counted(self, done: int, total: int, what: str) -> None:
        assert self._task is not None
        self._bar.update(self._task, completed=done, total=total)
        self.phase(f"{done:,}/{total:,} {what} scored")

    def note(self, text: str) -> None:
        """Print a line that stays above the bar; repeated lines are shown once."""
        if not self._bar.disable and text not in self._noted:
            self._noted.add(text)
            self._bar.console.print(text, highlight=False)

    def prepared(self, pairs: int) -> None:
        self.phase(f"preparing data: {pairs:,} pairs")

    def show(self, state: Mapping[str, Any], steps: int) -> None:
        """Show the newest state of the run's log."""
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


class SamplingProgress(Progress):
    """A bar over prompts, with tokens per second since the first block was done.

    Args:
        verb: what is done with the answers, such as "score".
    """

    def __init__(self, verb: str = "sample") -> None:
        super().__init__(
            *(
                TextColumn(verb, style="bold", markup=False),
                BarColumn(bar_width=12),
                MofNCompleteColumn(),
            ),
            *(TextColumn("{task.description}", markup=False), TimeElapsedColumn()),
            *(TimeRemainingColumn(compact=True), TextColumn("left")),
            console=console,
        )
        self._prompts = self.add_task("prompts", total=None)
        self._first: tuple[float, int] | None = None

    def show(self, done: int, prompts: int, tokens: int) -> None:
        now = time.monotonic()
        text = "prompts"
        if self._first:
            since, before = self._first
            text += f", {(tokens - before) / (now - since):,.0f} tokens/s"
        elif tokens:
            self._first = now, tokens
        self.update(self._prompts, completed=done, total=prompts, description=text)


class SweepProgress(Progress):
    """A bar over the trials of a sweep, some of which an earlier call has done."""

    def __init__(self, trials: int, done: int) -> None:
        super().__init__(
            *(TextColumn("sweep", style="bold"), BarColumn(bar_width=12), MofNCompleteColumn()),
            *(TextColumn("{task.description}", markup=False), TimeElapsedColumn()),
            console=console,
        )
        self._done_before = done
        self._trials = self.add_task("trials", total=trials, completed=done)

    def show(self, over: int, running: int, failed: int) -> None:
        """Show the trials of this call: numbers that are over, running and failed."""
        text = f"trials, {running} running" + (f", {failed} failed" if failed else "")
        self.update(self._trials, completed=self._done_before + over, description=text)


@contextmanager
def judging(text: str, requests: int) -> Iterator[Callable[[], None]]:
    """Print what a judge is asked, then show a bar; gives the function to call for each answer."""
    console.print(text, soft_wrap=True, highlight=False)
    with Progress(console=console) as bar:
        task = bar.add_task("asking", total=requests)
        yield lambda: bar.advance(task)
