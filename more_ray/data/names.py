"""The names of the sources that there are, and those to train on."""

from __future__ import annotations

from collections.abc import Sequence

from more_ray.config import DataConfig
from more_ray.data.simulated import Simulator
from more_ray.data.sources import locate, nearest
from more_ray.errors import DataError


def source_names(data: DataConfig) -> list[str]:
    """The names of the sources in `data`, in order; raises DataError for an unknown source."""
    if data.sources or data.root:
        return [file.name for file in locate(data)]
    return Simulator(data.simulator.sources).names()


def chosen_names(data: DataConfig, names: Sequence[str]) -> tuple[str, ...]:
    """Those that `data.train_on` names, or all; raises DataError for one that is unknown, or named
    twice."""
    for name in data.train_on:
        if data.train_on.count(name) > 1:
            raise DataError(f"data.train_on: {name} is given twice")
        if name not in names:
            raise DataError(
                f"data.train_on: no source {name}{nearest(name, names)}; "
                f"there are {', '.join(names)}"
            )
    return tuple(data.train_on or names)
