"""One trial of a sweep: a whole training run in a folder of its own, reported to Ray Tune."""

from __future__ import annotations

from typing import Any

from ray import tune

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.config.sweep import SweepConfig, trial_config
from more_ray.data.prepare import source_names
from more_ray.metrics.evaluation import Evaluation
from more_ray.metrics.measures import compared
from more_ray.run_folder import holds_model, is_evaluated
from more_ray.sweep.space import Point, decoded, trial_name

DESCRIPTION = "trial.json"
"""What the analysis needs to know of a trial, beside the files of its run."""
STOPPED = "stopped.json"
"""Marks a trial that early stopping ended."""


def trial_folder(config: SweepConfig, point: Point) -> str:
    return storage.join(config.output_dir, "trials", trial_name(point))


def is_over(folder: str) -> bool:
    """Whether a trial ended, by itself or by early stopping."""
    ended = holds_model(folder) or storage.exists(storage.join(folder, STOPPED))
    return ended and is_evaluated(folder)


def run_trial(
    point: Point, config: SweepConfig, threads: int | None, made_with: dict[str, Any]
) -> None:
    """The function that Tune runs: train, and report evaluations.

    A trial that starts again goes on from its checkpoint, as every run does.
    """
    from more_ray.cluster import quieten

    if not config.verbose:
        quieten()
    from more_ray.train.run import run

    one = configure(config, point, threads)
    description = describe(point, one)
    storage.write_json(storage.join(one.output_dir, DESCRIPTION), description)

    def report(evaluation: Evaluation) -> None:
        means = {row.key: evaluation["mean"][row.key] for row in compared()}
        tune.report({**evaluation, **means, "trial": description})

    report(run(one, on_evaluation=report, quiet=True, made_with=made_with))


def configure(config: SweepConfig, point: Point, threads: int | None) -> RunConfig:
    """The run of a trial; `threads` for its workers where the run leaves them open."""
    run = trial_config(config.run, decoded(point))
    changes: dict[str, Any] = {"output_dir": trial_folder(config, point), "compare": []}
    if threads and not run.train.threads:
        changes["train"] = run.train.changed(threads=threads)
    return run.changed(**changes)


def describe(point: Point, run: RunConfig) -> dict[str, Any]:
    return {
        "point": point,
        "values": decoded(point),
        "trained_on": run.data.train_on or source_names(run.data),
        "scheme": run.objective.scheme,
        "lr": run.optimizer.lr,
        "seed": run.train.seed,
        "output_dir": run.output_dir,
    }
