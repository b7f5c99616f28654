"""Settings of a sweep."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, model_validator

from more_ray.config.base import MayChange, Section, Seed
from more_ray.config.reading import explain, today, walk
from more_ray.config.run import RunConfig
from more_ray.metrics.measures import compared

if TYPE_CHECKING:
    Metric = str
else:
    Metric = Literal[tuple(row.key for row in compared())]

FIELDS = {key: field for key, field, _ in walk(RunConfig)}
TRAIN_ON = "data.train_on"
NOT_SWEPT = (
    *("output_dir", "compare", "init_from"),
    *("train.workers", "train.min_workers", "train.use_gpu"),
)
"""Keys of a run that all trials share; some decide how many trials the cluster has room for."""


class Range(Section):
    low: float
    """Least value."""
    high: float
    """Largest value."""
    log: bool = False
    """Draw the logarithm uniformly."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low < high is allowed, and low > 0 where log=true")
        return self


class SweepConfig(Section):
    output_dir: MayChange[str] = "outputs/sweep"
    """The sweep's folder: a path, or any URI that pyarrow's filesystems open."""
    run: RunConfig = RunConfig()
    """Settings of every trial, except for `compare` and `output_dir` (which `best.yaml` gets)."""
    space: dict[str, list[Any] | Range] = Field({})
    """Values to try for dotted keys of `run`: a list of values, or a range (`low`, `high`, `log`)
    for search=random and optuna. `{optimizer.lr: [1e-4, 1e-3], train.seed: [0, 1]}`"""
    sources: Literal["chain", "subsets"] | list[list[str]] | None = None
    """Combinations of sources to train on. chain: the first K (the paper: helpful + harmless, then
    + oasst1, + webgpt, + summarize); subsets: all of size K; or a list of combinations."""
    sizes: list[int] = Field([])
    """K for chain and subsets. Empty: from 2 to all."""
    singles: bool = False
    """Also train on each source alone; the best of these on its own source is the paper's Top."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """grid tries everything; random and optuna try `trials` points."""
    trials: MayChange[int] = Field(16, ge=1)
    """Points of random and optuna."""
    metric: Metric = "ece"
    """The measure to choose the best trial by: its mean over all sources, on the test pairs."""
    early_stopping: bool = False
    """ASHA: of the trials that reach 1, 3, 9 ... times `run.train.eval_every` steps, the better
    third goes on."""
    concurrent: MayChange[int | None] = Field(None, ge=1)
    """Trials at a time. Unset: as many as the cores or GPUs suffice for."""
    max_failures: MayChange[int] = Field(1, ge=0)
    """How often a failed trial is tried again before it is only reported."""
    seed: Seed = 0
    """Seed of random and optuna."""
    verbose: MayChange[bool] = False
    """Show the logs of Ray and the trials."""

    def at_once(self, cores: int) -> int:
        """Trials at a time on one machine."""
        return self.concurrent or max(1, cores // self.run.train.workers)

    @model_validator(mode="after")
    def _can_be_run(self) -> SweepConfig:
        if self.run.train.min_workers:
            raise ValueError("run.train.min_workers: a trial waits for all its workers")
        for key, values in self.space.items():
            if key == TRAIN_ON:
                raise ValueError(f"space.{key}: `sources` sweeps what to train on")
            if key in NOT_SWEPT:
                raise ValueError(f"space.{key}: cannot be swept")
            if not values:
                raise ValueError(f"space.{key}: at least one value is needed")
            if isinstance(values, Range) and self.search == "grid":
                raise ValueError(f"space.{key}: a range needs search=random or optuna")
        if self.sizes and not isinstance(self.sources, str):
            raise ValueError("sizes: needs sources=chain or subsets")
        if isinstance(self.sources, list) and [] in self.sources:
            raise ValueError("sources: got an empty combination; each names one source or more")
        tried = [
            [values.low, values.low + (values.high - values.low) / math.pi, values.high]
            if isinstance(values, Range)
            else values
            for values in self.space.values()
        ]
        for point in itertools.product(*tried):
            trial_config(self.run, dict(zip(self.space, point, strict=True)))
        if self.search == "optuna" and not any(
            isinstance(values, Range) for values in self.space.values()
        ):
            raise ValueError("search: optuna needs a range in `space`")
        if self.early_stopping and not self.run.train.eval_every:
            raise ValueError("early_stopping: needs run.train.eval_every")
        return self


def trial_config(run: RunConfig, values: dict[str, Any]) -> RunConfig:
    """A copy of `run` with values set at dotted keys.

    Raises:
        ValueError: an unknown key, or a value that is not allowed, in a message of one line.
    """
    tree = run.model_dump()
    for key, value in values.items():
        name = today(RunConfig, key)
        *sections, last = name.split(".")
        section = tree
        for below in sections:
            if name in FIELDS and isinstance(section, dict) and section.get(below) is None:
                section[below] = {}  # such as model.lora
            section = section.get(below) if isinstance(section, dict) else None
        if not isinstance(section, dict) or (last not in section and name not in FIELDS):
            raise ValueError(f"space.{key}: no such key of a run")
        section[last] = value
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ValueError(f"space.{explain(error.errors()[0], tree, FIELDS)}") from error
