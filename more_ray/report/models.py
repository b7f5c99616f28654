"""What a report reads: the folders of runs and evaluations, the seeds of a model together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from more_ray import storage
from more_ray.errors import UserError
from more_ray.evaluate.scores import SourceScores, read_scores
from more_ray.evaluate.summary import mean_over_seeds

ENVIRONMENT = "environment.json"


class ReportError(UserError):
    """What a report cannot be made from."""


@dataclass(frozen=True)
class RunFiles:
    """What a folder holds; an evaluation of another's model has no metrics and no config."""

    name: str
    evaluation: dict[str, Any]
    scores: dict[str, SourceScores]
    metrics: list[dict[str, Any]]
    config: str | None
    environment: dict[str, Any] | None


@dataclass(frozen=True)
class Model:
    """Runs that differ in their seed only, and the mean of their evaluations."""

    name: str
    runs: Sequence[RunFiles]
    evaluation: dict[str, Any]

    @property
    def first(self) -> RunFiles:
        """The run whose course and distributions are shown."""
        return self.runs[0]

    @property
    def trained_on(self) -> list[str]:
        """Sources; none of an untrained model, or of another's."""
        return list(self.first.metrics[0]["lam"]) if self.first.metrics else []

    @property
    def scores(self) -> list[dict[str, SourceScores]]:
        """Of every seed."""
        return [run.scores for run in self.runs]


def read_models(folders: Sequence[str]) -> list[Model]:
    """The models in folders (paths or URIs); those of one name are taken as seeds of one model.

    Raises:
        ReportError: a folder holds no finished run or evaluation.
    """
    by_name: dict[str, list[RunFiles]] = {}
    for folder in folders:
        run = read_run(folder)
        by_name.setdefault(run.name, []).append(run)
    return [
        Model(name, runs, mean_over_seeds([run.evaluation for run in runs]))
        for name, runs in by_name.items()
    ]


def read_run(folder: str) -> RunFiles:
    """The run or evaluation in a folder; raises as `read_models` does."""

    def there(file: str) -> str | None:
        uri = storage.join(folder, file)
        return storage.read_text(uri) if storage.exists(uri) else None

    evaluation = there("eval.json")
    if evaluation is None:
        raise ReportError(f"runs: {folder} holds no eval.json")
    try:
        scores = read_scores(folder)
    except FileNotFoundError as error:
        raise ReportError(f"runs: {folder} holds no scores.parquet") from error
    except KeyError as error:
        raise ReportError(f"runs: {folder}/scores.parquet has no column {error}") from error
    content, config, environment = json.loads(evaluation), there("config.yaml"), there(ENVIRONMENT)
    return RunFiles(
        _name(content, config),
        content,
        scores,
        [json.loads(line) for line in (there("metrics.jsonl") or "").splitlines()],
        config,
        json.loads(environment) if environment else None,
    )


def _name(evaluation: dict[str, Any], config: str | None) -> str:
    """The scheme, or what else a run was: untrained, or trained on some sources only."""
    train_on = yaml.safe_load(config)["data"]["train_on"] if config else []
    if evaluation["step"] == 0:
        return "raw"
    if len(train_on) == 1:
        return f"single {train_on[0]}"
    return " ".join([evaluation["scheme"], *(["on", ", ".join(train_on)] if train_on else [])])
