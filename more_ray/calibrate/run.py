"""A calibration: hidden states -> ridges -> heads -> temperatures -> a run's folder.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from more_ray import storage
from more_ray.calibrate.choose import choose_ridge
from more_ray.calibrate.coordinates import pooled_spectrum
from more_ray.calibrate.disagreement import compare_drifts, disagreements_table, parts_of
from more_ray.calibrate.features import Features, Pass, extract
from more_ray.calibrate.heads import fit_heads
from more_ray.calibrate.heads_file import Calibration, write_heads
from more_ray.calibrate.pairs import Floats, Pairs, make_pairs
from more_ray.calibrate.posterior import laplace, variances, widened
from more_ray.calibrate.texts import read_texts
from more_ray.calibrate.trunk import given_head, load_model, trunk_digest, trunk_tokenizer
from more_ray.calibrate.unknown import (
    LeftOut,
    drift_variance,
    leave_each_out,
    squared_lengths,
    unknown_factor,
)
from more_ray.config import CalibrationConfig
from more_ray.config.base import dump
from more_ray.data.prepare import counted, prepare
from more_ray.environment import environment
from more_ray.errors import UserError
from more_ray.evaluate.files import write_scores
from more_ray.evaluate.pairs import EvaluationPairs
from more_ray.metrics.evaluation import HeadsEvaluation, Measured
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import summarise
from more_ray.metrics.temperature import fit_temperature
from more_ray.model.export import export
from more_ray.model.tokenizer import prepared_tokenizer
from more_ray.parquet import write_table
from more_ray.run_folder import (
    CONFIG,
    DISAGREEMENTS,
    ENVIRONMENT,
    HEADS,
    check_same,
    model_of,
    write_evaluation,
)


@dataclass(frozen=True)
class Progress:
    """Who is told how far a calibration is."""

    prepared: Callable[[int], None] = lambda pairs: None
    passed: Callable[[int, int], None] = lambda done, pairs: None
    phase: Callable[[str], None] = lambda text: None


def calibrate(config: CalibrationConfig, progress: Progress = Progress()) -> HeadsEvaluation:
    """Fit a shared head and a drift for each source (4), and write a run's folder.

    Returns:
        The content of `eval.json`.

    Raises:
        DataError, ModelError: the inputs cannot be used.
        UserError: the folder belongs to something else, or there is only one source.
    """
    config = config.changed(output_dir=storage.absolute(config.output_dir))
    check_same(storage.join(config.output_dir, CONFIG), "a calibration", config)
    tokenizer = trunk_tokenizer(config.model, config.data.max_length)
    prepared = prepare(config.data, tokenizer, progress.prepared, prompts=True)
    if len(prepared.names) < 2:
        raise UserError(f"data.sources: two or more are needed; there is {prepared.names[0]}")
    storage.write_text(storage.join(config.output_dir, CONFIG), dump(config))
    counts = {"data": counted(config.data, prepared)}
    storage.write_json(storage.join(config.output_dir, ENVIRONMENT), {**environment(), **counts})
    progress.phase("reading the model")
    tokenizer = prepared_tokenizer(prepared)
    classifier = load_model(config.model, tokenizer, torch.float32)
    prior_H = given_head(config.model, classifier) if config.near_given else None
    trunk = trunk_digest(classifier)
    progress.phase("starting workers")
    features = extract(prepared, _pass(config, trunk), progress.passed)
    progress.phase("fitting heads")
    pairs, prompt_N = _training_pairs(config, features)
    fitted, left_out_K = _fit(config, trunk, pairs, prompt_N, prior_H)
    progress.phase("evaluating")
    result = _evaluate(config, features, fitted, left_out_K, tokenizer)
    write_evaluation(config.output_dir, result)
    progress.phase("writing the model")
    _write_model(config, fitted, classifier, tokenizer)
    return result


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


def _training_pairs(
    config: CalibrationConfig, features: Features
) -> tuple[Pairs, NDArray[np.uint64]]:
    """The pairs that heads are fitted on, and the hash of each one's prompt."""
    prepared = features.prepared
    sizes = prepared.sizes("train")
    prompts = [
        prepared.file(name, "train").take(np.arange(size), ["prompt"])["prompt"].to_numpy()
        for name, size in zip(prepared.names, sizes, strict=True)
    ]
    dz_NH = np.concatenate([features.differences(name, "train") for name in prepared.names])
    source_N = np.repeat(np.arange(len(sizes)), sizes)
    pairs = make_pairs(dz_NH, source_N, prepared.names, config.weights)
    return pairs, np.concatenate(prompts)


def _fit(
    config: CalibrationConfig,
    trunk: str,
    pairs: Pairs,
    prompt_N: NDArray[np.uint64],
    prior_H: Floats | None,
) -> tuple[Calibration, list[LeftOut]]:
    """All heads, and what the others say about each source."""
    spectrum = pooled_spectrum(pairs)
    choice = choose_ridge(pairs, prompt_N, config.folds, config.seed, prior_H, spectrum)
    heads = fit_heads(pairs, choice.ridge, prior_H, spectrum=spectrum)
    left_out_K = leave_each_out(pairs, choice.ridge, prior_H, heads, spectrum)
    temperature_K = [
        fit_temperature(choice.own_N[pairs.source_N == source])
        for source in range(len(pairs.names))
    ]
    fitted = Calibration(
        names=pairs.names,
        trunk=trunk,
        ridge=choice.ridge,
        heads=heads,
        posterior=laplace(pairs, heads, choice.ridge),
        drift_variance=drift_variance(heads.drift_KH),
        unknown_factor=unknown_factor(pairs, left_out_K),
        shared_temperature=fit_temperature(choice.shared_N),
        temperature_K=np.array(temperature_K),
    )
    return fitted, left_out_K


def _evaluate(
    config: CalibrationConfig,
    features: Features,
    fitted: Calibration,
    left_out_K: Sequence[LeftOut],
    tokenizer: PreTrainedTokenizerBase,
) -> HeadsEvaluation:
    """Write `scores.parquet` and `disagreements.parquet`; the content of `eval.json`."""
    own, shared, unsure, left_out, parts = {}, {}, {}, {}, {}
    about = EvaluationPairs(features.prepared, 1).scores
    for source, name in enumerate(fitted.names):
        z_N2H = np.stack(features.of(name, "test"), axis=1).astype(np.float64)
        dz_NH = z_N2H[:, 0] - z_N2H[:, 1]
        parts[name] = parts_of(fitted.heads, dz_NH)
        own_H = fitted.folded_KH[source]
        own[name], shared[name] = z_N2H @ own_H, z_N2H @ fitted.folded_H
        doubt_N = variances(dz_NH, fitted.posterior.own_KHH[source])
        scale = fitted.temperature_K[source]
        unsure[name] = _alone(widened(dz_NH @ own_H, doubt_N / scale**2))
        others = left_out_K[source]
        doubt_N = variances(dz_NH, others.factor_HH)
        doubt_N += fitted.unknown_factor * others.drift_variance * squared_lengths(dz_NH)
        left_out[name] = _alone(widened(dz_NH @ others.heads.shared_H, doubt_N))

    def scores_of(by_source: dict[str, Floats]) -> dict[str, SourceScores]:
        return about(np.concatenate(list(by_source.values())).astype(np.float32))

    def measured(by_source: dict[str, Floats]) -> Measured:
        whole = summarise(scores_of(by_source), *described)
        return {"sources": whole["sources"], "mean": whole["mean"]}

    described = ("drift", None, config.seed, config.bins, config.resamples)
    own_scores = scores_of(own)
    write_scores(own_scores, config.output_dir)
    texts = read_texts(features.prepared, tokenizer) if config.texts else None
    table = disagreements_table(fitted, own_scores, parts, texts)
    write_table(storage.join(config.output_dir, DISAGREEMENTS), table)
    return {
        **summarise(own_scores, *described),
        "shared": measured(shared),
        "posterior": measured(unsure),
        "left_out": measured(left_out),
        "drifts": compare_drifts(fitted.names, np.concatenate(list(parts.values()))),
    }


def _alone(delta_N: Floats) -> Floats:
    """`[N, 2]` scores with these differences: the rejected answers get 0."""
    return np.stack([delta_N, np.zeros_like(delta_N)], axis=1)


def _write_model(
    config: CalibrationConfig,
    fitted: Calibration,
    classifier: Any,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """`heads.safetensors`, and the checkpoint with the shared head."""
    with tempfile.TemporaryDirectory() as folder:
        write_heads(Path(folder, HEADS), fitted)
        storage.upload_file(Path(folder, HEADS), storage.join(config.output_dir, HEADS))
    weights = dict(classifier.state_dict())
    weights["score.weight"] = torch.from_numpy(fitted.folded_H[None]).float()
    with tempfile.TemporaryDirectory() as folder:
        export(classifier, weights, None, tokenizer, Path(folder))
        storage.upload(Path(folder), model_of(config.output_dir), last="config.json")
