"""What trials read and do not change: prepared data, and hidden states under a frozen trunk."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import ray

from more_ray.config import RunConfig
from more_ray.config.sweep import Range, SweepConfig, trial_config
from more_ray.paths import check_paths
from more_ray.sweep.space import Point, decoded, dimensions
from more_ray.sweep.trial import configure
from more_ray.train.checks import check_inputs, inputs_of
from more_ray.train.run import prepare_data, with_initial_model


def make_known(config: SweepConfig, waiting: Iterable[Point]) -> None:
    """Make, before the first trial, what the trials at these points need.

    Raises:
        DataError, ModelError: the data or the model of one cannot be used.
    """
    by_inputs = {
        _inputs(run): run for point in waiting for run in [trial_config(config.run, decoded(point))]
    }
    for run in by_inputs.values():
        check_paths(run)
    for run in by_inputs.values():
        make_inputs(run)


def check_ended(config: SweepConfig, points: Iterable[Point]) -> None:
    """Check that the trials which have ended learnt from the data and the model that are there now.

    Raises:
        UserError: one learnt from others.
    """
    found: dict[str, dict[str, Any]] = {}
    for point in points:
        run = with_initial_model(configure(config, point, None))
        key = _inputs(run)
        if key not in found:
            found[key] = inputs_of(run, prepare_data(run))
        check_inputs(run, found[key])


def known(config: SweepConfig) -> list[Point]:
    """Points that have all values which a search lists; none where it draws what is read."""
    if _draws_inputs(config):
        return []
    lists = {
        key: values if isinstance(values, list) else [values.low]
        for key, values in dimensions(config).items()
    }
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def make_drawn(config: SweepConfig, run: RunConfig) -> None:
    """Make, within a trial, what was not known before Optuna drew its values.

    In a task of its own: Ray Data shuffles with whole CPUs, and what a trial itself starts gets
    only the trial's share of one, unless it says where it wants to run.
    """
    if config.search == "optuna" and _draws_inputs(config):
        outside = ray.remote(num_cpus=0, scheduling_strategy="DEFAULT", max_retries=0)
        ray.get(outside(make_inputs).remote(run))


def make_inputs(run: RunConfig) -> None:
    """Make what is not there yet.

    Raises:
        DataError, ModelError: the data or the model cannot be used.
    """
    run = with_initial_model(run)
    prepared = prepare_data(run)
    if run.model.trunk == "frozen":
        from more_ray.train.frozen import hidden_states  # imports torch and DeepSpeed

        hidden_states(run, prepared, lambda done, pairs: None)


def _inputs(run: RunConfig) -> str:
    """The settings that decide what a run reads."""
    return json.dumps(
        [
            run.data.model_dump(mode="json", exclude={"train_on", "resample"}),
            run.model.model_dump(mode="json", exclude={"heads", "drift_decay"}),
            *(run.objective.loss, run.objective.labels),
            *(run.train.features, run.train.precision),
        ]
    )


def _draws_inputs(config: SweepConfig) -> bool:
    """Whether a range decides what trials read."""
    ranges = {key: values for key, values in config.space.items() if isinstance(values, Range)}
    return any(
        _inputs(trial_config(config.run, {key: values.low}))
        != _inputs(trial_config(config.run, {key: values.high}))
        for key, values in ranges.items()
    )
