"""A score in this process is the plain transformers score."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from more_ray.align.local_scoring import LocalScorer
from more_ray.config import ModelConfig
from more_ray.data.formatting import render
from more_ray.data.records import Message
from more_ray.model.loading import load_classifier, load_tokenizer

PROMPT = [Message(role="user", content="How do I get started with baking bread?")]
RESPONSES = ["For example, my neighbour began baking bread on Sundays.", "No.", "Perhaps."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("reward"))
    tokenizer = load_tokenizer(ModelConfig(), 64)
    load_classifier(ModelConfig(), tokenizer, torch.float32, seed=0).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("max_length", [64, 16])
def test_scores_are_those_of_plain_transformers(folder: str, number: int, max_length: int) -> None:
    scores = LocalScorer(ModelConfig(path=folder), max_length)(PROMPT, RESPONSES[:number])
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=max_length)
    for response, score in zip(RESPONSES, scores, strict=False):
        inputs = tokenizer(
            render(tokenizer, PROMPT, response), truncation=True, return_tensors="pt"
        )
        with torch.no_grad():
            assert score == pytest.approx(model(**inputs).logits.item(), abs=1e-5)
    assert len(scores) == number
