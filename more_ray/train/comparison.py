"""A run and the paper's baselines for it: raw, single-source models, their average, MultiTask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.data.names import source_names
from more_ray.errors import UserError
from more_ray.evaluate.files import read_scores, write_scores
from more_ray.metrics.baselines import average_scores
from more_ray.metrics.summary import summarise
from more_ray.objective.schemes import scheme_of
from more_ray.run_folder import write_evaluation
from more_ray.train.checks import check_settings
from more_ray.train.run import run


def train_all(config: RunConfig) -> list[str]:
    """Train `config` and the baselines that `config.compare` names; returns the runs' folders.

    Each run has its own folder below `output_dir` and resumes where it stopped; without `compare`
    the only run uses `output_dir` itself.

    Raises:
        UserError: as `run` does.
    """
    kinds = list(dict.fromkeys([config.objective.scheme, *config.compare]))
    if len(kinds) == 1:
        return [_train(config)]
    check_settings(config)
    if "left_out" in kinds and len(_names(config)) < 2:
        raise UserError(
            f"compare: left_out needs two sources or more; there is {_names(config)[0]}"
        )
    runs = compared_runs(config)
    without = _without_each(config) if "left_out" in kinds else {}
    folders: list[str] = []
    singles: list[str] = []
    if {"single", "averaging"} & set(kinds):
        singles = [_train(single) for single in _single_source_runs(config)]
    for kind in kinds:
        if kind == "single":
            folders += singles
        elif kind == "averaging":
            folders.append(_average(config, singles))
        elif kind == "left_out":
            folders.append(_left_out(config, runs[config.objective.scheme], without))
        else:
            folders.append(_train(runs[kind]))
    return folders


def compared_runs(config: RunConfig) -> dict[str, RunConfig]:
    """The runs on all sources, by kind: the config's own scheme, others, the untrained model."""
    runs = {}
    for kind in dict.fromkeys([config.objective.scheme, *config.compare]):
        if kind == "raw":
            runs[kind] = _changed(config, kind, train={"max_steps": 0})
        elif kind == "drift":
            plain = {"scheme": "uniform", "weights": None, "debias": False}
            runs[kind] = _changed(config, kind, model={"heads": "shared+drift"}, objective=plain)
        elif kind not in ("single", "averaging", "left_out"):
            weights = config.objective.weights if kind == config.objective.scheme else None
            debias = config.objective.debias and scheme_of(kind).needs_gradients
            scheme = {"scheme": kind, "weights": weights, "debias": debias}
            runs[kind] = _changed(config, kind, objective=scheme)
    return runs


def _train(config: RunConfig) -> str:
    run(config)
    return config.output_dir


def _changed(config: RunConfig, folder: str, **sections: dict[str, Any]) -> RunConfig:
    return config.changed(
        output_dir=storage.join(config.output_dir, folder),
        compare=[],
        **{name: getattr(config, name).changed(**change) for name, change in sections.items()},
    )


def _single_source_runs(config: RunConfig) -> list[RunConfig]:
    alone = {"scheme": "uniform", "weights": None, "debias": False}
    return [
        _changed(
            config,
            f"single/{name}",
            data={"train_on": [name]},
            objective=alone,
            model={"heads": "shared"},
        )
        for name in _names(config)
    ]


def _names(config: RunConfig) -> list[str]:
    return config.data.train_on or source_names(config.data)


def _average(config: RunConfig, singles: Sequence[str]) -> str:
    """Write the evaluation of the mean reward of the single-source models; returns its folder."""
    average = average_scores([read_scores(folder) for folder in singles])
    folder = storage.join(config.output_dir, "averaging")
    write_scores(average, folder)
    result = summarise(average, "averaging", None, config.train.seed)
    write_evaluation(folder, result)
    return folder


def _without_each(config: RunConfig) -> dict[str, RunConfig]:
    """By source, the run on the others.

    Raises:
        UserError: `objective.weights` leave nothing without one of them.
    """
    runs, given = {}, config.objective.weights
    for name in _names(config):
        others = [other for other in _names(config) if other != name]
        weights = {"weights": {other: given[other] for other in others} if given else None}
        try:
            runs[name] = _changed(
                config, f"without/{name}", data={"train_on": others}, objective=weights
            )
        except ValidationError as error:
            raise UserError(
                f"compare: left_out without {name}: {error.errors()[0]['msg']}"
            ) from error
    return runs


def _left_out(config: RunConfig, of_all: RunConfig, without: Mapping[str, RunConfig]) -> str:
    """Train without each source in turn; write the evaluation of each by the run without it.

    Sources that nobody trained on are taken from the run `of_all`, which has left them out.

    Returns:
        the folder of what the shared reward is worth to people who were not asked.
    """
    folders = {name: _train(run_of_others) for name, run_of_others in without.items()}
    found = {
        name: read_scores(folders[name])[name] if name in folders else scores
        for name, scores in read_scores(of_all.output_dir).items()
    }
    folder = storage.join(config.output_dir, "left_out")
    write_scores(found, folder)
    write_evaluation(folder, summarise(found, "left_out", None, config.train.seed))
    return folder
