from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from architectures import small_config
from support import Touch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BloomConfig,
    BloomForSequenceClassification,
    FunnelConfig,
    FunnelForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    OPTConfig,
    OPTForSequenceClassification,
    PretrainedConfig,
    Qwen2Config,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from more_ray.config import LoraConfig, ModelConfig
from more_ray.data.formatting import encode
from more_ray.data.packing import pack_answers
from more_ray.errors import ModelError
from more_ray.model.export import export
from more_ray.model.loading import (
    check_model,
    check_reward_model,
    load_causal_lm,
    load_classifier,
    load_policy,
    load_reward_model,
    load_reward_tokenizer,
    load_tokenizer,
)
from more_ray.model.lora import add_lora
from more_ray.model.tokenizer import training_tokenizer

GGUF = {"blocks": 2, "width": 64, "heads": 2}
"""The size of a small file."""


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


@pytest.mark.parametrize("targets", [["foo"], ["q_proj", "foo"]])
def test_layers_that_there_are_not_get_no_updates(targets: list[str], tmp_path: Path) -> None:
    check_model(ModelConfig(lora=LoraConfig(targets=["q_proj", "mlp.up_proj"])))
    with pytest.raises(ModelError) as refused:
        check_model(ModelConfig(lora=LoraConfig(targets=targets)))
    assert str(refused.value) == (
        "model.lora.targets: tiny has no layer foo; there are down_proj, gate_proj, k_proj, "
        "o_proj, q_proj, up_proj, v_proj"
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
        (LlamaForCausalLM, "holds a LlamaForCausalLM; allowed: a sequence classifier"),
        (LlamaForSequenceClassification, "none given for .*; allowed: one of its outputs 0"),
    ):
        kind(shape).save_pretrained(tmp_path)
        with pytest.raises(ModelError, match=message):
            check_reward_model(ModelConfig(path=str(tmp_path)))


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


def test_a_kind_of_block_for_each_layer_is_cut_and_exported(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ModelConfig(), 64)
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    shape = Qwen2Config(
        **{"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16},
        **{"num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2},
        **{"use_sliding_window": True, "sliding_window": 4, "layer_types": kinds},
    )
    AutoModelForCausalLM.from_config(shape).save_pretrained(tmp_path / "base")
    config = ModelConfig(path=str(tmp_path / "base"), layers=2)
    check_model(config)
    classifier = load_classifier(config, tokenizer, torch.float32, 0)
    export(classifier, dict(classifier.named_parameters()), None, tokenizer, tmp_path / "model")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert again.config.layer_types == kinds[:2]


def test_a_policy_keeps_what_ends_its_answers(tmp_path: Path) -> None:
    """Both stop tokens, also beside settings that transformers refuses to save."""
    tokenizer = load_tokenizer(ModelConfig(), 64)
    base = load_causal_lm(ModelConfig(), tokenizer, torch.float32, 0)
    base.generation_config.eos_token_id = [1, 7]
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    for temperature in (None, 0.5):
        policy = load_policy(ModelConfig(path=str(tmp_path / "base")), tokenizer, torch.float32, 0)
        policy.generation_config.temperature = temperature
        export(policy, dict(policy.named_parameters()), None, tokenizer, tmp_path / "model")
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
        assert again.generation_config.eos_token_id == [1, 7]


@pytest.mark.parametrize(
    ("kind", "shape", "most"),
    [
        (LlamaForSequenceClassification, LlamaConfig(max_position_embeddings=64), 64),
        (GPT2ForSequenceClassification, GPT2Config(n_positions=64, pad_token_id=0), 64),
        (RobertaForSequenceClassification, RobertaConfig(max_position_embeddings=66), 64),
        (OPTForSequenceClassification, OPTConfig(max_position_embeddings=64), 64),
        (BloomForSequenceClassification, BloomConfig(), None),
    ],
)
def test_texts_longer_than_the_model_takes(
    tmp_path: Path, kind: Any, shape: Any, most: int | None
) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    small["num_key_value_heads"] = 2
    sizes = {"vocab_size": 50, "intermediate_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 16}
    shape.update({**small, **sizes, "num_labels": 1})
    model = kind(shape).eval()
    model.save_pretrained(tmp_path)
    checks = [check_reward_model]
    if kind is not RobertaForSequenceClassification:
        checks.append(check_model)
    for check in checks:
        check(ModelConfig(path=str(tmp_path)), most or 10_000)
        if most:
            with pytest.raises(ModelError, match="65 given; the model takes at most 64 tokens"):
                check(ModelConfig(path=str(tmp_path)), 65)
    with torch.no_grad():
        assert model(torch.full((1, most or 100), 3)).logits.isfinite().all()


REMOTE = """
from transformers import LlamaForCausalLM, LlamaForSequenceClassification


class OwnForCausalLM(LlamaForCausalLM):
    pass


class OwnForSequenceClassification(LlamaForSequenceClassification):
    pass
"""


def test_code_that_comes_with_a_model_is_run_where_it_is_trusted(tmp_path: Path) -> None:
    """From the check of its config to the export, which brings the code along."""
    tokenizer = load_tokenizer(ModelConfig(), 64)
    base = tmp_path / "base"
    load_causal_lm(ModelConfig(), tokenizer, torch.float32, 0).save_pretrained(base)
    tokenizer.save_pretrained(base)
    (base / "own.py").write_text(REMOTE)
    config = json.loads((base / "config.json").read_text())
    kinds = ("AutoModelForCausalLM", "AutoModelForSequenceClassification")
    classes = ("OwnForCausalLM", "OwnForSequenceClassification")
    auto = {kind: f"own.{one}" for kind, one in zip(kinds, classes, strict=True)}
    config["auto_map"] = auto
    (base / "config.json").write_text(json.dumps(config))

    settings = ModelConfig(path=str(base), trust_remote_code=True)
    check_model(settings)
    check_model(settings, policy=True)
    classifier = load_classifier(settings, tokenizer, torch.float32, 0)
    assert type(classifier).__name__ == "OwnForSequenceClassification"
    export(classifier, dict(classifier.named_parameters()), None, tokenizer, tmp_path / "model")
    served = ModelConfig(path=str(tmp_path / "model"), trust_remote_code=True)
    check_reward_model(served)
    again = load_reward_model(served, load_reward_tokenizer(served, 64))
    assert torch.equal(again.classifier.score.weight, classifier.score.weight)
    assert type(again.classifier).__name__ == "OwnForSequenceClassification"


ROPES = {
    "a base frequency": (LlamaConfig(rope_theta=5e5), {"rope_theta": 5e5}),
    "scaled": (
        LlamaConfig(rope_theta=5e5, rope_scaling={"rope_type": "linear", "factor": 2.0}),
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    ),
    "a part of each head": (
        GPTNeoXConfig(rotary_pct=0.5, rotary_emb_base=5_000),
        {"rotary_pct": 0.5, "rotary_emb_base": 5_000},
    ),
}


@pytest.mark.parametrize(("config", "older"), ROPES.values(), ids=ROPES)
def test_rotary_embeddings_are_exported_for_transformers_4_too(
    config: PretrainedConfig, older: dict[str, Any], tmp_path: Path
) -> None:
    """Which reads other names, and would take its defaults; `jobs/benchmarks/peers.py` runs it."""
    small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    config.update({**small, "intermediate_size": 16, "vocab_size": 50, "num_key_value_heads": 2})
    config.update({"num_labels": 1, "max_position_embeddings": 64})
    model = AutoModelForSequenceClassification.from_config(config).eval()
    tokenizer = training_tokenizer(ModelConfig(), 64)
    export(model, dict(model.named_parameters()), None, tokenizer, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert {name: written.get(name) for name in older} == older
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert again.config.rope_parameters == model.config.rope_parameters
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)


def test_classifiers_without_a_number_of_blocks_to_set_load_too(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ModelConfig(), 64)
    shape = FunnelConfig(
        vocab_size=len(tokenizer), block_sizes=[1, 1], d_model=16, n_head=2, d_head=8, d_inner=16
    )
    shape.num_labels = 1
    FunnelForSequenceClassification(shape).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = ModelConfig(path=str(tmp_path))
    check_reward_model(config, 64)
    model = load_reward_model(config, load_reward_tokenizer(config, 64))
    with torch.no_grad():
        assert model.score(pack_answers([[[5, 6, 7, 8]]]))[0].isfinite().all()


def test_what_gets_no_gradient_from_texts_is_not_trained(tmp_path: Path) -> None:
    whole = AutoModelForSequenceClassification.from_config(small_config("gemma3"))
    whole.save_pretrained(tmp_path)
    config = ModelConfig(path=str(tmp_path))
    model = load_classifier(config, training_tokenizer(ModelConfig(), 64), torch.bfloat16, seed=0)
    model(torch.tensor([[5, 6, 7]])).logits.sum().backward()
    for name, one in model.named_parameters():
        assert (one.grad is not None) == one.requires_grad, name
        assert one.requires_grad == ("language_model" in name or name == "score.weight"), name


def test_a_runs_folder_is_not_its_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    expected = f"{tmp_path} is a run's folder; its model is {tmp_path / 'model'}"
    with pytest.raises(ModelError, match=re.escape(expected)):
        load_tokenizer(ModelConfig(path=str(tmp_path)), 64)
