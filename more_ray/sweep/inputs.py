"""What trials read and do not change: prepared data, and hidden states under a frozen trunk."""

from __future__ import annotations

import itertools

import ray

from more_ray.config import RunConfig
from more_ray.config.sweep import Range, SweepConfig, trial_config
from more_ray.train.run import prepare_data, with_initial_model

DECIDING = (
    "data",
    "model",
    "objective.loss",
    "objective.labels",
    "train.features",
    "train.precision",
)
"""The settings that decide what is read, and sections of such."""


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


def make_listed(config: SweepConfig) -> None:
    """Make, before the first trial, what all values that the sweep lists need."""
    lists = {key: values for key, values in _deciding(config).items() if isinstance(values, list)}
    for values in itertools.product(*lists.values()):
        make_inputs(trial_config(config.run, dict(zip(lists, values, strict=True))))


def make_drawn(config: SweepConfig, run: RunConfig) -> None:
    """Make, within a trial, what was not known before its values were drawn.

    In a task of its own: Ray Data shuffles with whole CPUs, and what a trial itself starts gets
    only the trial's share of one, unless it says where it wants to run.
    """
    if any(isinstance(values, Range) for values in _deciding(config).values()):
        outside = ray.remote(num_cpus=0, scheduling_strategy="DEFAULT", max_retries=0)
        ray.get(outside(make_inputs).remote(run))


def _deciding(config: SweepConfig) -> dict[str, list[object] | Range]:
    return {
        key: values
        for key, values in config.space.items()
        if any(f"{key}.".startswith(f"{part}.") for part in DECIDING)
    }
