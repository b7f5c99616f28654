from __future__ import annotations

import pytest
import torch

from more_ray.config import ModelConfig
from more_ray.config.serve import ServeConfig
from more_ray.model.loading import load_classifier, load_tokenizer
from more_ray.serve.scorer import Scorer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = load_tokenizer(ModelConfig(), 512)
    load_classifier(ModelConfig(), tokenizer, torch.float32, seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_request_counts_with_what_its_model_computes(model: str) -> None:
    """Packed, a shared beginning counts once; padded, each answer is as long as the longest."""
    answers = [[5] * 100 + own for own in ([6], [7, 8], [9] * 50)]
    packed = Scorer(ServeConfig(model=ModelConfig(path=model)))
    padded = Scorer(ServeConfig(model=ModelConfig(path=model, batch_format="padded")))
    assert packed.tokens(answers) == 100 + 1 + 2 + 50
    assert padded.tokens(answers) == 3 * 150
    assert packed.scores([answers])[0] == pytest.approx(padded.scores([answers])[0], abs=1e-5)
