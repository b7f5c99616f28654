"""The folders of runs and evaluations that a report reads; the seeds of a model are grouped."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.config.base import Tree, without_free
from more_ray.config.reading import renamed
from more_ray.errors import UserError
from more_ray.evaluate.files import read_scores
from more_ray.metrics.evaluation import Evaluation, beats_guessing
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.shown_names import run_name
from more_ray.metrics.summary import mean_over_seeds
from more_ray.parquet import read_table
from more_ray.run_folder import (
    CONFIG,
    DISAGREEMENTS,
    ENVIRONMENT,
    EVALUATION,
    METRICS,
    SCORES,
)
from more_ray.train.metrics_line import MetricsLine

VAGUE = 0.1
"""A calibration error that may be this large is not known to be small."""


@dataclass(frozen=True)
class RunFiles:
    """The content of a folder; an evaluation of a foreign model has no metrics and no config."""

    name: str
    evaluation: Evaluation
    scores: dict[str, SourceScores]
    metrics: list[MetricsLine]
    config: str | None
    environment: dict[str, Any] | None
    disagreements: pa.Table | None
    """After calibration: the probability of each test pair by every head."""


@dataclass(frozen=True)
class Model:
    """Runs that differ in their seed only, and the mean of their evaluations."""

    name: str
    runs: Sequence[RunFiles]
    evaluation: Evaluation

    @property
    def first(self) -> RunFiles:
        """The run whose training course and distributions are shown."""
        return self.runs[0]

    @property
    def trained_on(self) -> list[str]:
        """The sources it was trained on; empty for an untrained or foreign model."""
        return list(self.first.metrics[0]["lam"]) if self.first.metrics else []

    @property
    def single(self) -> bool:
        """Whether it was trained on one of several sources."""
        return len(self.trained_on) == 1 and len(self.first.scores) > 1

    @property
    def scores(self) -> list[dict[str, SourceScores]]:
        """The scores of every seed."""
        return [run.scores for run in self.runs]

    @property
    def true_ece(self) -> tuple[float, float]:
        """What the true ECE may be; from 0 where that holds for any seed."""
        low = min(run.evaluation["mean"]["ece_ci"][0] for run in self.runs)
        return low, self.evaluation["mean"]["ece_ci"][1]

    @property
    def beats_longer(self) -> bool:
        """Whether it is shown to agree with people more often than the longer answer does, whose
        share is about as uncertain as its own."""
        mean = self.evaluation["mean"]
        half = (mean["accuracy_ci"][1] - mean["accuracy_ci"][0]) / 2
        return mean["accuracy"] - mean["longer_answer_accuracy"] > math.sqrt(2) * half

    @property
    def unserved(self) -> list[str]:
        """The sources on which it is not shown to beat guessing."""
        sources = self.evaluation["sources"]
        return [name for name, one in sources.items() if not beats_guessing(one)]


def read_models(folders: Sequence[str]) -> list[Model]:
    """The models in folders (paths or URIs); runs that differ in their seed only are one model.

    Raises:
        UserError: a folder holds no finished run or evaluation.
    """
    seeds_of: dict[str, dict[str, RunFiles]] = {}
    for folder in folders:
        run = read_run(folder)
        seeds_of.setdefault(_identity(run, folder), {})[folder] = run
    names = Counter(next(iter(runs.values())).name for runs in seeds_of.values())
    models = []
    for runs in seeds_of.values():
        folder, first = next(iter(runs.items()))
        name = first.name if names[first.name] == 1 else f"{first.name} ({folder})"
        evaluation = mean_over_seeds([run.evaluation for run in runs.values()])
        models.append(Model(name, list(runs.values()), evaluation))
    return models


def _identity(run: RunFiles, folder: str) -> str:
    """A key that is equal for runs which differ in their seed only; an evaluation does not say how
    its model was trained, and is by itself."""
    if run.config is None:
        return folder
    settings = renamed(RunConfig, yaml.safe_load(run.config))
    tree = without_free(RunConfig, settings)
    if "train" in tree:
        tree["train"]["workers"] = settings["train"].get("workers")
        tree["train"].pop("seed", None)
    benchmarks = sorted(run.evaluation.get("benchmarks", {}))
    return json.dumps([run.name, sorted(run.scores), benchmarks, tree])


def mixtures(models: Sequence[Model]) -> Sequence[Model]:
    """The models trained on more than one source, or all models where there are none."""
    return [model for model in models if not model.single] or models


def read_run(folder: str) -> RunFiles:
    """The run or evaluation in a folder; raises as `read_models` does."""

    def read_file(file: str) -> str | None:
        uri = storage.join(folder, file)
        try:
            return storage.read_text(uri) if storage.exists(uri) else None
        except pa.ArrowException as error:
            raise UserError(f"runs: {folder}: {error}") from error

    evaluation = read_file(EVALUATION)
    if evaluation is None:
        raise UserError(f"runs: {folder} holds no {EVALUATION}")
    content = json.loads(evaluation)
    try:
        # An evaluation on benchmarks alone has no pairs.
        scores = read_scores(folder) if content["sources"] else {}
    except FileNotFoundError as error:
        raise UserError(f"runs: {folder} holds no {SCORES}") from error
    except (KeyError, pa.ArrowException) as error:
        raise UserError(f"runs: {folder}/{SCORES} holds no scores of pairs") from error
    disagreements = storage.join(folder, DISAGREEMENTS)
    config, environment = read_file(CONFIG), read_file(ENVIRONMENT)
    lines = [json.loads(line) for line in (read_file(METRICS) or "").splitlines()]
    return RunFiles(
        _name(content, config),
        content,
        scores,
        [line for line in lines if None not in line["lam"].values()],  # a skipped step
        config,
        json.loads(environment) if environment else None,
        read_table(disagreements) if storage.exists(disagreements) else None,
    )


def _name(evaluation: Evaluation, config: str | None) -> str:
    tree: Tree = yaml.safe_load(config) if config else {"data": {"train_on": []}}
    heads = tree.get("model", {}).get("heads", "shared")
    untrained = evaluation["step"] == 0
    name = run_name(evaluation["scheme"], tree["data"]["train_on"], heads, untrained)
    if untrained or not tree.get("init_from"):
        return name
    return f"{name} from {'/'.join(str(tree['init_from']).rstrip('/').split('/')[-2:])}"
