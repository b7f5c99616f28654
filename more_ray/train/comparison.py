"""A run beside the baselines of the paper: raw, single-source models, their average, MultiTask."""

from __future__ import annotations

from typing import Any

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.data.prepare import source_names
from more_ray.evaluate.baselines import average_scores
from more_ray.evaluate.scores import read_scores, write_scores
from more_ray.evaluate.summary import summarise
from more_ray.train.run import run


def train_all(config: RunConfig) -> dict[str, dict[str, Any]]:
    """The run of `config` and those that `config.compare` names: evaluations by the name to show.

    Each has a folder of its own below `output_dir` and goes on where it stopped; without `compare`
    the run has `output_dir` itself.

    Raises:
        DataError, ModelError, RunError: as `run` does.
    """
    kinds = list(dict.fromkeys([config.objective.scheme, *config.compare]))
    if len(kinds) == 1:
        return {kinds[0]: run(config)}
    evaluations: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        if kind == "raw":
            evaluations[kind] = run(_changed(config, kind, train={"max_steps": 0}))
        elif kind == "single":
            for name, one in _single_source_runs(config).items():
                evaluations[f"single {name}"] = run(one)
        elif kind == "averaging":
            evaluations[kind] = _average(config)
        else:
            evaluations[kind] = run(_changed(config, kind, objective={"scheme": kind}))
    return evaluations


def _changed(config: RunConfig, folder: str, **sections: dict[str, Any]) -> RunConfig:
    return config.model_copy(
        update={
            "output_dir": storage.join(config.output_dir, folder),
            "compare": [],
            **{
                name: getattr(config, name).model_copy(update=change)
                for name, change in sections.items()
            },
        }
    )


def _single_source_runs(config: RunConfig) -> dict[str, RunConfig]:
    names = config.data.train_on or source_names(config.data)
    alone = {"scheme": "uniform", "weights": None}
    return {
        name: _changed(config, f"single/{name}", data={"train_on": [name]}, objective=alone)
        for name in names
    }


def _average(config: RunConfig) -> dict[str, Any]:
    """Write and return the evaluation of the mean reward of the single-source models."""
    scores = []
    for one in _single_source_runs(config).values():
        step = run(one)["step"]
        scores.append(read_scores(one.output_dir))
    average = average_scores(scores)
    folder = storage.join(config.output_dir, "averaging")
    result = summarise(average, "averaging", step, config.train.seed)
    storage.write_json(storage.join(folder, "eval.json"), result)
    write_scores(average, folder)
    return result
