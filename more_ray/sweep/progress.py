"""Follows the trials that Tune runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from ray import tune
from ray.tune.experiment import Trial

from more_ray import storage
from more_ray.bars import SweepProgress
from more_ray.sweep.trial import STOPPED, is_over


class TrialFollower(tune.Callback):
    """Shows Tune's trials in a bar, and marks those that early stopping ended.

    Tune pickles its callbacks, so the bar belongs to the class.
    """

    bar: ClassVar[SweepProgress | None] = None

    @classmethod
    @contextmanager
    def shown(cls, total: int, done: int) -> Iterator[TrialFollower]:
        """Show a bar over `total` trials, `done` of which are left from an earlier call."""
        with SweepProgress(total, done) as cls.bar:
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
        if self.bar:
            self.bar.show(
                sum(trial.is_finished() for trial in trials),
                sum(trial.status == Trial.RUNNING for trial in trials),
                sum(trial.status == Trial.ERROR for trial in trials),
            )
