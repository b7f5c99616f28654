"""The contents of the folder of a run or an evaluation: no other file spells these names.

`model/` is a Hugging Face checkpoint; from its path the folder of the run can be found.
"""

from __future__ import annotations

import posixpath
from typing import Any

import yaml
from pydantic import ValidationError

from more_ray import storage
from more_ray.config.base import Section, differences, read
from more_ray.errors import UserError
from more_ray.metrics.evaluation import Evaluation

CONFIG = "config.yaml"
"""All settings."""
ENVIRONMENT = "environment.json"
"""Command, commit, machine, versions and numbers of pairs."""
DEVICE = "device.json"
"""The kind of device that work was started on."""
METRICS = "metrics.jsonl"
"""A line per step."""
STARTS = "starts.jsonl"
"""A line per start of the workers."""
EVALUATION = "eval.json"
"""The measures of each source."""
SCORES = "scores.parquet"
"""The scores of each test pair."""
BENCHMARK_SCORES = "benchmark_scores.parquet"
"""The score of each answer of each benchmark."""
LIKELIHOODS = "likelihoods.parquet"
"""After fine-tuning: the likelihoods of the held-out answers."""
REPORT = "report.html"
"""The report page."""
HEADS = "heads.safetensors"
"""After calibration, or training with drifts: the shared head and the drifts."""
DISAGREEMENTS = "disagreements.parquet"
"""After calibration: the probability of each test pair by every head."""
MODEL = "model"
"""The exported model: a folder."""
CARD = "README.md"
"""In the folder of a model: its model card."""
MODELS = "models"
"""After calibration with `export`: plain models of single sources, a folder each."""
CHECKPOINTS = "checkpoints"
"""Checkpoints to resume from, and Ray Train's records: a folder."""


def check_same(uri: str, what: str, config: Section, model: type[Section] | None = None) -> None:
    """Check that a file of settings, if it exists, agrees with `config`, except for settings that
    may change when work is resumed.

    Args:
        what: the content of the folder, for the error: "a run".
        model: type of the settings in the file, if it is not the type of `config`.

    Raises:
        UserError: the file holds other settings, or those of another verb.
    """
    if not storage.exists(uri):
        return
    folder = posixpath.dirname(uri)
    try:
        then = read(model or type(config), storage.read_text(uri)).fixed()
    except ValidationError as error:
        raise UserError(
            f"output_dir: {folder} holds something else than {what}: the settings of another verb; "
            "choose another folder"
        ) from error
    for key, before, now in differences(then, config.fixed()):
        raise UserError(
            f"output_dir: {folder} holds {what} with {key}={before}, not {now}; "
            "choose another folder or delete this one"
        )


def evaluation_of(folder: str) -> Evaluation:
    return storage.read_json(storage.join(folder, EVALUATION))


def write_evaluation(folder: str, evaluation: Evaluation) -> None:
    storage.write_json(storage.join(folder, EVALUATION), evaluation)


def model_of(folder: str) -> str:
    """The path of a run's model."""
    return storage.join(folder, MODEL)


def model_at(path: str) -> str:
    """The path of the model in a run's folder; other paths and hub names are returned unchanged.

    Raises:
        UserError: it is a folder of several runs.
    """
    if holds_model(path):
        return model_of(path)
    if runs := [folder for folder in storage.folders(path) if holds_model(folder)]:
        raise UserError(f"{path} holds several runs, each with a model: {', '.join(runs)}")
    return path


def holds_model(folder: str) -> bool:
    """Whether a run has exported its model; `config.json` is written last."""
    return storage.exists(storage.join(folder, MODEL, "config.json"))


def has_card(model: str) -> bool:
    """Whether the folder of a model has its card, which earlier versions did not write."""
    return storage.exists(storage.join(model, CARD))


def is_evaluated(folder: str) -> bool:
    return storage.exists(storage.join(folder, EVALUATION))


def run_of(model_path: str) -> str | None:
    """The folder of the run that a model lies in; None for a model that lies elsewhere."""
    folder, name = posixpath.split(model_path.rstrip("/"))
    if posixpath.basename(folder) == MODELS:
        return posixpath.dirname(folder)
    return folder if name == MODEL else None


def exported_for(model_path: str) -> str | None:
    """The source whose head a model in a run's folder `models` has; None for other models."""
    folder, name = posixpath.split(model_path.rstrip("/"))
    return name if posixpath.basename(folder) == MODELS and run_of(model_path) else None


def settings_of(model_path: str) -> dict[str, Any] | None:
    """The `config.yaml` of the run that exported a model; None for a model from elsewhere.

    Args:
        model_path: path or URI of a run's folder `model`.
    """
    settings = _settings(model_path)
    return settings if settings and settings.keys() >= {"objective", "optimizer", "data"} else None


def learnt_with(model_path: str) -> tuple[dict[str, Any], str | None] | None:
    """What `config.yaml` says of the data that a run or a calibration learnt a model from, and the
    path of the model that it began with; None for a model of another kind.
    """
    settings = _settings(model_path)
    if settings and settings.keys() >= {"features", "folds", "data"}:
        return settings["data"], settings["model"]["path"]
    if settings := settings_of(model_path):
        return settings["data"], settings["model"]["path"]
    return None


def _settings(model_path: str) -> dict[str, Any] | None:
    run = run_of(model_path)
    if run is None or not storage.exists(storage.join(run, CONFIG)):
        return None
    try:
        settings = yaml.safe_load(storage.read_text(storage.join(run, CONFIG)))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    return settings if isinstance(settings, dict) else None


def base_of(model_path: str) -> str:
    """The path or name of the model that came before all runs and calibrations of ours."""
    settings = _settings(model_path) or {}
    return base_of(settings["model"]["path"]) if "model" in settings else model_path


def data_of(model_path: str) -> dict[str, dict[str, Any]]:
    """The counts of the sources of the run that exported a model, by source."""
    run = run_of(model_path)
    if run is None or not storage.exists(storage.join(run, ENVIRONMENT)):
        return {}
    return storage.read_json(storage.join(run, ENVIRONMENT)).get("data") or {}
