"""A calibration: hidden states -> ridges -> heads -> temperatures -> a run's folder.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from more_ray import storage
from more_ray.calibrate.evaluation import evaluate
from more_ray.calibrate.features import Features, Pass, extract
from more_ray.calibrate.fit import fit, fit_one_head, temperatures
from more_ray.calibrate.pairs import Pairs, make_pairs
from more_ray.calibrate.trunk import given_head, has_head, load_model, trunk_tokenizer
from more_ray.config import CalibrationConfig, DataConfig, ModelConfig
from more_ray.config.base import dump
from more_ray.data.prepare import counted, prepare
from more_ray.data.prepared import Prepared
from more_ray.environment import environment
from more_ray.errors import UserError
from more_ray.metrics.evaluation import Evaluation
from more_ray.model.export import export
from more_ray.model.heads_file import upload_heads
from more_ray.model.loading import load_classifier, load_reward_tokenizer
from more_ray.model.tokenizer import prepared_tokenizer
from more_ray.model.trunk_digest import trunk_digest
from more_ray.run_folder import (
    CONFIG,
    ENVIRONMENT,
    MODELS,
    check_same,
    evaluation_of,
    holds_model,
    is_evaluated,
    model_of,
    write_evaluation,
)


@dataclass(frozen=True)
class Progress:
    """Who is told how far a calibration is."""

    prepared: Callable[[int], None] = lambda pairs: None
    passed: Callable[[int, int], None] = lambda done, pairs: None
    phase: Callable[[str], None] = lambda text: None


def calibrate(config: CalibrationConfig, progress: Progress = Progress()) -> Evaluation:
    """Fit a shared head and a drift for each source (4), and write a run's folder.

    A calibration that was finished is not made again.

    Returns:
        The content of `eval.json`.

    Raises:
        DataError, ModelError: the inputs cannot be used.
        UserError: the folder belongs to something else, or there is only one source.
    """
    config = config.changed(output_dir=storage.absolute(config.output_dir))
    folder = config.output_dir
    check_same(storage.join(folder, CONFIG), "a calibration", config)
    if not (is_evaluated(folder) and holds_model(folder)):
        _calibrate(config, progress)
    if config.export:
        progress.phase(f"writing the model of {config.export}")
        _export_source(folder, config.export)
    return evaluation_of(folder)


def _calibrate(config: CalibrationConfig, progress: Progress) -> None:
    tokenizer = trunk_tokenizer(config.model, config.data.max_length)
    if config.fit == "temperature" and not has_head(config.model):
        raise UserError(f"fit: temperature given; {config.model.path} has no reward head")
    prepared = prepare(config.data, tokenizer, progress.prepared, prompts=True)
    names = asked(config.data, prepared)
    storage.write_text(storage.join(config.output_dir, CONFIG), dump(config))
    counts = {"data": counted(config.data, prepared)}
    storage.write_json(storage.join(config.output_dir, ENVIRONMENT), {**environment(), **counts})
    progress.phase("reading the model")
    tokenizer = prepared_tokenizer(prepared)
    classifier = load_model(config.model, tokenizer, torch.float32)
    given_H = given_head(config.model, classifier)
    trunk = trunk_digest(classifier)
    progress.phase("starting workers")
    features = extract(prepared, _pass(config, trunk), progress.passed)
    progress.phase("fitting heads")
    pairs, prompt_N = training_pairs(features, names, config.weights)
    if config.fit == "temperature":
        assert given_H is not None
        fitted, left_out, one_head = temperatures(trunk, pairs, given_H), {}, None
    else:
        prior_H = given_H if config.near_given else None
        how = (pairs, prompt_N, trunk, config.folds, config.seed, prior_H)
        fitted, left_out = fit(*how)
        one_head = fit_one_head(*how)
    progress.phase("evaluating")
    result = evaluate(config, features, fitted, left_out, one_head)
    progress.phase("writing the model")
    upload_heads(fitted, config.output_dir)
    weights = dict(classifier.state_dict())
    weights["score.weight"] = torch.from_numpy(fitted.folded_H[None]).float()
    _upload_model(classifier, weights, tokenizer, model_of(config.output_dir))
    write_evaluation(config.output_dir, result)


def asked(data: DataConfig, prepared: Prepared) -> tuple[str, ...]:
    """The sources that `data.train_on` names, or all.

    Raises:
        UserError: there is no such source, or only one.
    """
    names = tuple(data.train_on or prepared.names)
    if unknown := [name for name in names if name not in prepared.names]:
        raise UserError(
            f"data.train_on: no source {unknown[0]}; there are {', '.join(prepared.names)}"
        )
    if len(names) < 2:
        raise UserError(f"data.sources: two or more are needed; there is {names[0]}")
    return names


def _pass(config: CalibrationConfig, trunk: str) -> Pass:
    return Pass(
        config.model,
        trunk,
        config.features,
        config.precision,
        config.workers,
        config.use_gpu,
        config.batch_tokens,
    )


def training_pairs(
    features: Features, names: Sequence[str], shares: str
) -> tuple[Pairs, NDArray[np.uint64]]:
    """The pairs that heads are fitted on, and the hash of each one's prompt."""
    prepared = features.prepared
    files = [prepared.file(name, "train") for name in names]
    prompts = [file.take(np.arange(len(file)), ["prompt"])["prompt"].to_numpy() for file in files]
    dz_NH = np.concatenate([features.differences(name, "train") for name in names])
    source_N = np.repeat(np.arange(len(files)), [len(file) for file in files])
    return make_pairs(dz_NH, source_N, names, shares), np.concatenate(prompts)


def _export_source(folder: str, source: str) -> None:
    """Write `models/SOURCE` from the folder's shared model and heads."""
    model = ModelConfig(path=model_of(folder), source=source)
    tokenizer = load_reward_tokenizer(model, None)
    classifier = load_classifier(model, tokenizer, torch.float32, seed=0)
    path = storage.join(folder, MODELS, source)
    _upload_model(classifier, dict(classifier.state_dict()), tokenizer, path)


def _upload_model(
    classifier: PreTrainedModel,
    weights: dict[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    path: str,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        export(classifier, weights, None, tokenizer, Path(folder))
        storage.upload(Path(folder), path, last="config.json")
