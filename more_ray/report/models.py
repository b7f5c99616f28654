"""What a report reads: the folders of runs and evaluations, the seeds of a model together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.config.base import without_free
from more_ray.errors import UserError
from more_ray.evaluate.files import read_scores
from more_ray.metrics.evaluation import Evaluation
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import mean_over_seeds
from more_ray.run_folder import CONFIG, ENVIRONMENT, EVALUATION, METRICS, SCORES
from more_ray.train.metrics_line import MetricsLine


@dataclass(frozen=True)
class RunFiles:
    """What a folder holds; an evaluation of another's model has no metrics and no config."""

    name: str
    evaluation: Evaluation
    scores: dict[str, SourceScores]
    metrics: list[MetricsLine]
    config: str | None
    environment: dict[str, Any] | None


@dataclass(frozen=True)
class Model:
    """Runs that differ in their seed only, and the mean of their evaluations."""

    name: str
    runs: Sequence[RunFiles]
    evaluation: Evaluation

    @property
    def first(self) -> RunFiles:
        """The run whose course and distributions are shown."""
        return self.runs[0]

    @property
    def trained_on(self) -> list[str]:
        """Sources; none of an untrained model, or of another's."""
        return list(self.first.metrics[0]["lam"]) if self.first.metrics else []

    @property
    def single(self) -> bool:
        """Whether it was trained on one of several sources."""
        return len(self.trained_on) == 1 and len(self.first.scores) > 1

    @property
    def scores(self) -> list[dict[str, SourceScores]]:
        """Of every seed."""
        return [run.scores for run in self.runs]


def read_models(folders: Sequence[str]) -> list[Model]:
    """The models in folders (paths or URIs); runs that differ in their seed only are one model.

    Raises:
        UserError: a folder holds no finished run or evaluation.
    """
    same: dict[str, dict[str, RunFiles]] = {}
    for folder in folders:
        run = read_run(folder)
        same.setdefault(_identity(run), {})[folder] = run
    names = Counter(next(iter(runs.values())).name for runs in same.values())
    models = []
    for runs in same.values():
        folder, first = next(iter(runs.items()))
        name = first.name if names[first.name] == 1 else f"{first.name} ({folder})"
        evaluation = mean_over_seeds([run.evaluation for run in runs.values()])
        models.append(Model(name, list(runs.values()), evaluation))
    return models


def _identity(run: RunFiles) -> str:
    """The same for runs that differ in their seed only."""
    tree = without_free(RunConfig, yaml.safe_load(run.config)) if run.config else {}
    tree.get("train", {}).pop("seed", None)
    return json.dumps([run.name, sorted(run.scores), tree])


def mixtures(models: Sequence[Model]) -> Sequence[Model]:
    """The models that were not trained on one source only; all where there is no other."""
    return [model for model in models if not model.single] or models


def read_run(folder: str) -> RunFiles:
    """The run or evaluation in a folder; raises as `read_models` does."""

    def there(file: str) -> str | None:
        uri = storage.join(folder, file)
        try:
            return storage.read_text(uri) if storage.exists(uri) else None
        except pa.ArrowException as error:
            raise UserError(f"runs: {folder}: {error}") from error

    evaluation = there(EVALUATION)
    if evaluation is None:
        raise UserError(f"runs: {folder} holds no {EVALUATION}")
    try:
        scores = read_scores(folder)
    except FileNotFoundError as error:
        raise UserError(f"runs: {folder} holds no {SCORES}") from error
    except (KeyError, pa.ArrowException) as error:
        raise UserError(f"runs: {folder}/{SCORES} holds no scores of pairs") from error
    content, config, environment = json.loads(evaluation), there(CONFIG), there(ENVIRONMENT)
    lines = [json.loads(line) for line in (there(METRICS) or "").splitlines()]
    return RunFiles(
        _name(content, config),
        content,
        scores,
        [line for line in lines if None not in line["lam"].values()],  # else nothing was learnt
        config,
        json.loads(environment) if environment else None,
    )


def _name(evaluation: Evaluation, config: str | None) -> str:
    """The scheme, or what else a run was: untrained, or trained on some sources only."""
    if evaluation["step"] == 0:
        return "raw"
    tree = yaml.safe_load(config) if config else {"data": {"train_on": []}}
    train_on = tree["data"]["train_on"]
    name = f"single {train_on[0]}" if len(train_on) == 1 else evaluation["scheme"]
    if len(train_on) > 1:
        name += f" on {', '.join(train_on)}"
    return f"{name} from {tree['init_from']}" if tree.get("init_from") else name
