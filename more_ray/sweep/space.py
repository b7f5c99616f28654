"""The points of a sweep."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from ray import tune

from more_ray.config.sweep import TRAIN_ON, Range, SweepConfig
from more_ray.data.names import source_names
from more_ray.errors import UserError

Point = dict[str, Any]
"""A value for each dotted key that is swept."""


def combinations(config: SweepConfig) -> list[str]:
    """The combinations of sources to train on; empty where `sources` is unset.

    Each is a JSON list of names: Optuna accepts text, but no lists.
    """
    names = source_names(config.run.data)
    sizes = config.sizes or list(range(2, len(names) + 1))
    if any(not 1 <= size <= len(names) for size in sizes):
        raise UserError(f"sizes: {sizes} given; there are {len(names)} sources")
    chosen: list[Iterable[str]] = []
    if config.sources == "chain":
        chosen = [names[:size] for size in sizes]
    elif config.sources == "subsets":
        chosen = [subset for size in sizes for subset in itertools.combinations(names, size)]
    elif config.sources is not None:
        chosen = list(config.sources)
    if config.singles:
        chosen = [*([name] for name in names), *chosen]
    for sources in chosen:
        if unknown := [name for name in sources if name not in names]:
            raise UserError(f"sources: no source {unknown[0]}; there are {', '.join(names)}")
    return list(dict.fromkeys(json.dumps(list(sources)) for sources in chosen))


def dimensions(config: SweepConfig) -> dict[str, list[Any] | Range]:
    """The values or range that each key is drawn from."""
    found = combinations(config)
    return {**({TRAIN_ON: found} if found else {}), **config.space}


def points(config: SweepConfig) -> list[Point]:
    """All points of a grid, or those that a random search draws: the same at every call."""
    drawn_from = dimensions(config)
    if config.search == "grid":
        drawn = list(itertools.product(*drawn_from.values()))
    else:
        rng = np.random.default_rng(config.seed)
        drawn = [
            tuple(_draw(rng, values) for values in drawn_from.values())
            for _ in range(config.trials)
        ]
    by_name = {
        trial_name(point): point for values in drawn for point in [_point(drawn_from, values)]
    }
    return list(by_name.values())


def _point(drawn_from: Iterable[str], values: Iterable[Any]) -> Point:
    return dict(zip(drawn_from, values, strict=True))


def _draw(rng: np.random.Generator, values: list[Any] | Range) -> Any:
    if isinstance(values, list):
        return values[rng.integers(len(values))]
    if values.log:
        return math.exp(rng.uniform(math.log(values.low), math.log(values.high)))
    return rng.uniform(values.low, values.high)


def tune_space(config: SweepConfig) -> dict[str, Any]:
    """The search space as Tune takes it, for a search that learns from earlier trials."""

    def domain(values: list[Any] | Range) -> Any:
        if isinstance(values, list):
            return tune.choice(values)
        return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)

    return {key: domain(values) for key, values in dimensions(config).items()}


def decoded(point: Point) -> Point:
    """The values of a point as the config of a run takes them."""
    return {key: json.loads(value) if key == TRAIN_ON else value for key, value in point.items()}


def trial_name(point: Point) -> str:
    """The folder of a trial: readable, and determined by its values alone."""
    text = json.dumps(point, sort_keys=True)
    readable = ",".join(f"{key.split('.')[-1]}={value}" for key, value in sorted(point.items()))
    safe = re.sub(r"[^A-Za-z0-9=+.,_-]+", "_", readable)
    return f"{safe[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
