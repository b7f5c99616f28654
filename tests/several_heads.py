"""Folders of runs whose model has several heads: the tiny model, with heads that are drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import yaml
from linear_world import drawn_heads
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from more_ray.config import ModelConfig
from more_ray.evaluate.files import write_scores
from more_ray.metrics.scores import SourceScores
from more_ray.model.heads_file import (
    Calibration,
    Floats,
    Posterior,
    Ridge,
    trained_heads,
    write_heads,
)
from more_ray.model.loading import load_classifier, load_tokenizer
from more_ray.model.trunk_digest import trunk_digest
from more_ray.run_folder import CONFIG, EVALUATION, HEADS, MODEL, MODELS

NAMES = ("helpful", "harmless")
SHARED_TEMPERATURES = (2.0, 8.0)
"""Of each source's pairs by the shared head, in a run that was trained."""


def write_calibrated_run(folder: Path) -> Calibration:
    """As calibration leaves it; also with `models/helpful`, as `export` does."""
    rng = np.random.default_rng(0)
    tokenizer, model = _tiny()
    hidden = model.config.hidden_size
    factor_PHH = 0.1 * np.tril(rng.standard_normal((1 + len(NAMES), hidden, hidden)))
    fitted = Calibration(
        NAMES,
        trunk_digest(model),
        drawn_heads(rng, len(NAMES), hidden, 0.3, 0.3),
        drift_variance=0.09,
        shared_temperature=1.5,
        temperature_K=np.array([0.8, 2.0]),
        ridge=Ridge(0.1, 0.1),
        posterior=Posterior(factor_PHH[0], factor_PHH[1:]),
        unknown_factor=2.0,
    )
    folder.mkdir()
    write_heads(folder / HEADS, fitted)
    for name, head_H in ((MODEL, fitted.folded_H), (f"{MODELS}/helpful", fitted.folded_KH[0])):
        _save(folder / name, tokenizer, model, head_H)
    return fitted


def write_trained_run(folder: Path) -> Calibration:
    """As training with drifts leaves it: no posterior, and scores of test pairs."""
    rng = np.random.default_rng(1)
    tokenizer, model = _tiny()
    heads = drawn_heads(rng, len(NAMES), model.config.hidden_size, 0.3, 0.3)
    fitted = trained_heads(NAMES, trunk_digest(model), heads)
    folder.mkdir()
    write_heads(folder / HEADS, fitted)
    _save(folder / MODEL, tokenizer, model, heads.shared_H)
    settings = {"objective": {}, "optimizer": {}, "data": {}, "model": {"path": "tiny"}}
    (folder / CONFIG).write_text(yaml.safe_dump(settings))
    shared = zip(NAMES, SHARED_TEMPERATURES, strict=True)
    sources = {name: {"temperature": temperature} for name, temperature in shared}
    (folder / EVALUATION).write_text(json.dumps({"shared": {"sources": sources}}))
    length_N = np.full(200, 5)
    scores = {
        name: SourceScores(
            np.arange(200),
            spread * rng.standard_normal(200) + 1,
            np.zeros(200),
            length_N,
            length_N,
        )
        for name, spread in zip(NAMES, (1.0, 5.0), strict=True)
    }
    write_scores(scores, str(folder))
    return fitted


def _tiny() -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    tokenizer = load_tokenizer(ModelConfig(), 512)
    return tokenizer, load_classifier(ModelConfig(), tokenizer, torch.float32, seed=1)


def _save(
    folder: Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, head_H: Floats
) -> None:
    model.score.weight = nn.Parameter(torch.from_numpy(head_H[None]).float())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
