from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from more_ray.config import LoraConfig, ModelConfig
from more_ray.data.formatting import encode
from more_ray.model.export import export
from more_ray.model.loading import (
    ModelError,
    add_lora,
    check_model,
    check_reward_model,
    load_classifier,
    load_tokenizer,
)

GGUF = {"blocks": 2, "width": 64, "heads": 2}
"""Of a small file."""


def test_the_tiny_model_needs_nothing_from_outside() -> None:
    tokenizer = load_tokenizer(ModelConfig(), 64)
    assert tokenizer.pad_token != tokenizer.eos_token
    assert tokenizer.decode(tokenizer("Ünusual wörds!")["input_ids"]) == "Ünusual wörds!"
    one, other = (load_classifier(ModelConfig(), tokenizer, torch.float32, 0) for _ in range(2))
    assert torch.equal(one.score.weight, other.score.weight)
    assert one.score.bias is None


def test_a_saved_tokenizer_truncates_as_training_does(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ModelConfig(), 8)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(ModelConfig(path=str(tmp_path)), 6)
    again.save_pretrained(tmp_path)
    text = "one two three four five six seven eight nine ten"
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain(text, truncation=True)["input_ids"] == encode(tokenizer, [text], 6)[0]
    assert plain(text)["input_ids"][-6:] == plain(text, truncation=True)["input_ids"]


def write_gguf(path: Path) -> np.ndarray:
    """A quantized LLaMA with random weights and the simulator's words; returns its embeddings."""
    written = load_tokenizer(ModelConfig(), 64)
    words = json.loads(written.backend_tokenizer.to_str())["model"]
    width, blocks, kind = GGUF["width"], GGUF["blocks"], gguf.GGMLQuantizationType.Q4_1
    file = gguf.GGUFWriter(path, "llama")
    file.add_name("small")
    file.add_block_count(blocks)
    file.add_context_length(128)
    file.add_embedding_length(width)
    file.add_feed_forward_length(width)
    file.add_head_count(GGUF["heads"])
    file.add_head_count_kv(GGUF["heads"])
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(len(words["vocab"]))
    file.add_tokenizer_model("gpt2")
    file.add_token_list(sorted(words["vocab"], key=words["vocab"].get))
    file.add_token_merges([" ".join(pair) for pair in words["merges"]])
    file.add_eos_token_id(written.eos_token_id)
    shapes = {"token_embd": len(words["vocab"])}
    for block in range(blocks):
        parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        shapes |= {f"blk.{block}.{part}": width for part in parts}
        for norm in ("attn_norm", "ffn_norm"):
            file.add_tensor(f"blk.{block}.{norm}.weight", np.ones(width, np.float32))
    file.add_tensor("output_norm.weight", np.ones(width, np.float32))
    random = np.random.default_rng(0)
    made = {
        name: gguf.quantize(random.normal(size=(rows, width)).astype(np.float32), kind)
        for name, rows in shapes.items()
    }
    for name, weight in made.items():
        file.add_tensor(f"{name}.weight", weight, raw_dtype=kind)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return gguf.dequantize(made["token_embd"], kind)


def test_a_gguf_file_loads_with_the_first_blocks_and_exports(tmp_path: Path) -> None:
    """A small one; `tests/slow` has SmolLM2's."""
    path = tmp_path / "small.gguf"
    embeddings = write_gguf(path)
    with pytest.raises(ModelError, match=r"model\.layers: 3 given; .* has 2 blocks"):
        check_model(ModelConfig(path=str(path), layers=3))
    config = ModelConfig(path=str(path), layers=1)
    tokenizer = load_tokenizer(config, 64)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|eos|>", "<|pad|>")
    classifier = load_classifier(config, tokenizer, torch.float32, 0).eval()
    assert classifier.config.num_hidden_layers == 1
    loaded = classifier.get_input_embeddings().weight.detach()
    np.testing.assert_array_equal(loaded[: len(embeddings)], embeddings)
    export(classifier, dict(classifier.named_parameters()), None, tokenizer, tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    batch = AutoTokenizer.from_pretrained(tmp_path)("hello", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(
            plain(**batch).logits, classifier(**batch).logits, atol=1e-5, rtol=0
        )


def test_lora_trains_only_updates_and_the_head() -> None:
    tokenizer = load_tokenizer(ModelConfig(), 64)
    classifier = load_classifier(ModelConfig(), tokenizer, torch.float32, 0)
    add_lora(classifier, LoraConfig(rank=2))
    trained = [name for name, one in classifier.named_parameters() if one.requires_grad]
    assert "score.weight" in trained
    assert all("lora_" in name for name in trained if name != "score.weight")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"path": "/nowhere"}, "model.path: cannot load /nowhere"),
        ({"path": "/nowhere/model.gguf"}, "model.path: no file /nowhere/model.gguf"),
        ({"path": "package:nowhere/x.gguf"}, "the Python package nowhere is not installed"),
    ],
)
def test_what_cannot_be_loaded(config: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_tokenizer(ModelConfig(**config), 64)


def test_a_model_without_a_score_head(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ModelConfig(), 64)
    shape = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape, num_hidden_layers=1)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelError, match="BertForSequenceClassification has no bias-free `score`"):
        check_model(ModelConfig(path=str(tmp_path)))


def test_what_is_no_reward_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.path: cannot load /nowhere"):
        check_reward_model(ModelConfig(path="/nowhere"))
    shape = LlamaConfig(hidden_size=8, num_attention_heads=1, intermediate_size=8, num_labels=2)
    for kind, message in (
        (LlamaForCausalLM, "holds a LlamaForCausalLM; a sequence classifier is allowed"),
        (LlamaForSequenceClassification, "has 2 outputs; one is allowed"),
    ):
        kind(shape).save_pretrained(tmp_path)
        with pytest.raises(ModelError, match=message):
            check_reward_model(ModelConfig(path=str(tmp_path)))


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_what_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    """Neither a pickle in the place of weights nor Python files, which a config may name."""
    ran = tmp_path / "ran"
    tokenizer = load_tokenizer(ModelConfig(), None)
    tokenizer.save_pretrained(tmp_path)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = LlamaConfig(vocab_size=9, num_attention_heads=1, **shape)
    config.save_pretrained(tmp_path)
    torch.save({"model.norm.weight": Touch(ran)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="weights that run code when they are read"):
        load_classifier(ModelConfig(path=str(tmp_path)), tokenizer, torch.float32, 0)

    (tmp_path / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: pass\n")
    named = {"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(named))
    with pytest.raises(ModelError, match="cannot load"):
        check_model(ModelConfig(path=str(tmp_path)))
    assert not ran.exists()


def test_more_layers_than_there_are(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ModelConfig(), 64)
    load_classifier(ModelConfig(), tokenizer, torch.float32, 0).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"model\.layers: 9 given; .* has 2 blocks"):
        check_model(ModelConfig(path=str(tmp_path), layers=9))
    check_model(ModelConfig(path=str(tmp_path), layers=2))
