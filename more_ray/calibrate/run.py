"""A calibration: hidden states -> ridges -> heads -> temperatures -> a run's folder.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from more_ray import storage
from more_ray.calibrate.evaluation import evaluate
from more_ray.calibrate.features import Features, Pass, extract
from more_ray.calibrate.fit import fit, fit_one_head, temperatures
from more_ray.calibrate.pairs import Floats, Pairs, make_pairs
from more_ray.calibrate.trunk import given_head, has_head, load_model, trunk_tokenizer
from more_ray.config import CalibrationConfig
from more_ray.config.base import dump
from more_ray.data.names import chosen_names
from more_ray.data.prepare import counted, prepare
from more_ray.data.prepared import Prepared, labels_in
from more_ray.environment import environment
from more_ray.errors import UserError
from more_ray.metrics.evaluation import Evaluation
from more_ray.model.card import write_card
from more_ray.model.export import export
from more_ray.model.heads_file import Calibration, read_heads, upload_heads
from more_ray.model.tokenizer import prepared_tokenizer
from more_ray.model.trunk_digest import trunk_digest
from more_ray.run_folder import (
    CONFIG,
    ENVIRONMENT,
    EVALUATION,
    HEADS,
    MODELS,
    check_same,
    evaluation_of,
    has_card,
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

    A finished calibration of the same pairs and the same trunk is not made again.

    Returns:
        The content of `eval.json`.

    Raises:
        DataError, ModelError: the inputs cannot be used.
        UserError: the folder belongs to something else, or there is only one source.
    """
    config = config.changed(output_dir=storage.absolute(config.output_dir))
    folder = config.output_dir
    check_same(storage.join(folder, CONFIG), "a calibration", config)
    if config.fit == "temperature" and not has_head(config.model):
        raise UserError(f"fit: temperature given; {config.model.path} has no reward head")
    tokenizer = trunk_tokenizer(config.model, config.data.max_length)
    soft = config.labels == "soft"
    prepared = prepare(config.data, tokenizer, progress.prepared, soft=soft)
    names = chosen_names(config.data, prepared.names)
    if len(names) < 2:
        raise UserError(f"data.sources: two or more are needed; there is {names[0]}")
    if config.export not in (None, *names):
        raise UserError(f"export: no head of {config.export}; there are {', '.join(names)}")
    progress.phase("reading the model")
    tokenizer = prepared_tokenizer(prepared)
    classifier = load_model(config.model, tokenizer, torch.float32)
    trunk = trunk_digest(classifier)
    made_of = {"data": counted(config.data, prepared), "trunk": trunk, "texts": config.texts}
    is_finished = _is_finished(folder, made_of)
    if is_finished:
        fitted = read_heads(Path(folder, HEADS), trunk, classifier.score.weight.shape[1])
        if not has_card(model_of(folder)):
            write_card(config, fitted)
    else:
        # Written last: without it nothing of an earlier calibration counts.
        storage.remove(storage.join(folder, EVALUATION))
        storage.write_text(storage.join(folder, CONFIG), dump(config))
        storage.write_json(storage.join(folder, ENVIRONMENT), {**environment(), **made_of})
        fitted, result = _fitted(config, prepared, names, trunk, classifier, progress)
        progress.phase("writing the model")
        upload_heads(fitted, folder)
        _write_model(classifier, fitted.folded_H, tokenizer, model_of(folder))
        write_evaluation(folder, result)
        write_card(config, fitted)
    if config.export:
        progress.phase(f"writing the model of {config.export}")
        head_H = fitted.folded_KH[names.index(config.export)]
        model = storage.join(folder, MODELS, config.export)
        _write_model(classifier, head_H, tokenizer, model)
        if not (is_finished and has_card(model)):
            write_card(config, fitted, config.export)
    return evaluation_of(folder)


def _is_finished(folder: str, made_of: dict[str, Any]) -> bool:
    """Whether a local folder holds all that such a calibration writes."""
    if "://" in folder or not (is_evaluated(folder) and holds_model(folder)):
        return False
    before = storage.read_json(storage.join(folder, ENVIRONMENT))
    return all(_is_same(before.get(key), value) for key, value in made_of.items())


def _is_same(before: Any, now: Any) -> bool:
    """Equal but for what earlier versions did not write: keys within."""
    if isinstance(before, dict) and isinstance(now, dict):
        known = before.keys() <= now.keys()
        return known and all(_is_same(value, now[key]) for key, value in before.items())
    return before == now


def _fitted(
    config: CalibrationConfig,
    prepared: Prepared,
    names: Sequence[str],
    trunk: str,
    classifier: PreTrainedModel,
    progress: Progress,
) -> tuple[Calibration, Evaluation]:
    """The heads, and what they are worth."""
    given_H = given_head(config.model, classifier)
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
    return fitted, evaluate(config, features, fitted, left_out, one_head)


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
    known = labels_in(files)
    given = (known.get("share"), known.get("weight"))
    return make_pairs(dz_NH, source_N, names, shares, *given), np.concatenate(prompts)


def _write_model(
    classifier: PreTrainedModel, head_H: Floats, tokenizer: PreTrainedTokenizerBase, path: str
) -> None:
    """A plain checkpoint of the trunk with a head."""
    weights = dict(classifier.state_dict())
    weights["score.weight"] = torch.from_numpy(head_H[None]).float()
    with storage.uploading(path, last="config.json") as folder:
        export(classifier, weights, None, tokenizer, folder)
