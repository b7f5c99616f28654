"""A trial of a sweep: a training run in its own folder, reported to Ray Tune."""

from __future__ import annotations

from typing import Any

from ray import tune

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.config.sweep import SweepConfig, trial_config
from more_ray.data.names import source_names
from more_ray.metrics.evaluation import Evaluation
from more_ray.metrics.measures import compared
from more_ray.run_folder import holds_model, is_evaluated
from more_ray.sweep.space import Point, decoded, trial_name

DESCRIPTION = "trial.json"
"""The file with what the analysis needs of a trial, besides the files of its run."""
STOPPED = "stopped.json"
"""The file that marks a trial which early stopping ended."""


def trial_folder(config: SweepConfig, point: Point) -> str:
    return storage.join(config.output_dir, "trials", trial_name(point))


def is_over(folder: str) -> bool:
    """Whether a trial finished or was stopped early."""
    return (holds_model(folder) or was_stopped(folder)) and is_evaluated(folder)


def was_stopped(folder: str) -> bool:
    """Whether early stopping ended a trial."""
    return storage.exists(storage.join(folder, STOPPED))


def run_trial(
    point: Point, config: SweepConfig, threads: int | None, made_with: dict[str, Any]
) -> None:
    """The function that Tune runs: train, and report evaluations.

    A restarted trial resumes from its checkpoint, as every run does.
    """
    from more_ray.cluster import quieten

    if not config.verbose:
        quieten()
    from more_ray.sweep.inputs import make_drawn
    from more_ray.train.run import run

    run_config = configure(config, point, threads)
    description = describe(point, run_config)
    storage.write_json(storage.join(run_config.output_dir, DESCRIPTION), description)
    make_drawn(config, run_config)

    def report(evaluation: Evaluation) -> None:
        means = {row.key: evaluation["mean"][row.key] for row in compared()}
        tune.report({**evaluation, **means, "trial": description})

    report(run(run_config, on_evaluation=report, quiet=True, made_with=made_with))


def configure(config: SweepConfig, point: Point, threads: int | None) -> RunConfig:
    """The run of a trial; `threads` for its workers where the run does not set them."""
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
