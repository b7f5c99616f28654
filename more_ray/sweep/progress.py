"""What a person sees of a sweep: one bar over its trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from ray import tune
from ray.tune.experiment import Trial
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from more_ray import storage
from more_ray.sweep.trial import STOPPED, is_over
from more_ray.terminal import console


class SweepProgress(tune.Callback):
    """Follows Tune's trials, and marks those that early stopping ended.

    Tune pickles its callbacks, so the bar is not part of one.
    """

    bar: ClassVar[Progress | None] = None
    done_before: ClassVar[int] = 0

    @classmethod
    @contextmanager
    def shown(cls, total: int, done: int) -> Iterator[SweepProgress]:
        """Show a bar over `total` trials, `done` of which are left from an earlier call."""
        columns = (
            *(TextColumn("[bold]sweep"), BarColumn(bar_width=12), MofNCompleteColumn()),
            *(TextColumn("{task.description}"), TimeElapsedColumn()),
        )
        with Progress(*columns, console=console) as bar:
            bar.add_task("trials", total=total, completed=done)
            cls.bar, cls.done_before = bar, done
            yield cls()
        cls.bar = None

    def on_trial_start(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        self._show(trials)

    def on_trial_error(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        self._show(trials)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        self._show(trials)
        described = (trial.last_result or {}).get("trial")
        if described and not is_over(described["output_dir"]):
            stopped = {"step": trial.last_result["step"]}
            storage.write_json(storage.join(described["output_dir"], STOPPED), stopped)

    def on_experiment_end(self, trials: list[Trial], **_: Any) -> None:
        self._show(trials)

    def _show(self, trials: list[Trial]) -> None:
        if self.bar is None:
            return
        over = [trial for trial in trials if trial.is_finished()]
        failed = sum(trial.status == Trial.ERROR for trial in trials)
        running = sum(trial.status == Trial.RUNNING for trial in trials)
        self.bar.update(
            self.bar.task_ids[0],
            completed=self.done_before + len(over),
            description=f"trials, {running} running" + (f", {failed} failed" if failed else ""),
        )
