"""Reward models of others that are PEFT adapters on a base model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from architectures import small_config
from safetensors.torch import load_file, save_file
from support import Touch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from more_ray.config import ModelConfig
from more_ray.data.packing import pack_answers
from more_ray.errors import ModelError
from more_ray.model.export import export
from more_ray.model.loading import (
    check_model,
    check_reward_model,
    load_classifier,
    load_reward_model,
    load_reward_tokenizer,
    load_tokenizer,
)
from more_ray.model.tokenizer import training_tokenizer

ANSWERS = [[5, 6, 7, 8], [5, 6, 9], [5, 11, 12, 13, 14]]
LORA: dict[str, Any] = {"task_type": "SEQ_CLS", "r": 4, "target_modules": "all-linear"}
KINDS: dict[str, Any] = {
    "lora": lambda: peft.LoraConfig(**LORA, init_lora_weights=False),
    "rslora": lambda: peft.LoraConfig(**LORA, init_lora_weights=False, use_rslora=True),
    "dora": lambda: peft.LoraConfig(**LORA, init_lora_weights=False, use_dora=True),
    "ia3": lambda: peft.IA3Config(
        task_type="SEQ_CLS",
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        init_ia3_weights=False,
    ),
    "all of its head and embeddings": lambda: peft.LoraConfig(
        **{**LORA, "modules_to_save": ["score", "embed_tokens"]}, init_lora_weights=False
    ),
}


def write_base(folder: Path, name: str = "llama", classifier: bool = False) -> Path:
    tokenizer = load_tokenizer(ModelConfig(), 64)
    config = small_config(name)
    config.update({"vocab_size": len(tokenizer), "pad_token_id": 0, "num_labels": 1})
    torch.manual_seed(0)
    kind = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    kind.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_adapter(
    folder: Path, base: Path, settings: Any, outputs: int = 1, rows: int | None = None
) -> torch.Tensor:
    """An adapter with random updates; returns `[A, C]`, its scores by `peft` alone, unmerged."""
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=outputs)
    if rows:
        model.resize_token_embeddings(rows)
    adapted = peft.get_peft_model(model, settings).eval()
    for name, weight in adapted.named_parameters():
        if weight.requires_grad and "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.save_pretrained(folder, save_embedding_layers=bool(rows))
    with torch.no_grad():
        return torch.cat([adapted(torch.tensor([tokens])).logits for tokens in ANSWERS])


def scores(config: ModelConfig) -> torch.Tensor:
    """`[A]`, as the package scores the texts."""
    check_reward_model(config, 32)
    model = load_reward_model(config, load_reward_tokenizer(config, 64))
    with torch.no_grad():
        return model.score(pack_answers([ANSWERS]))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_adapter_scores_as_peft_does(kind: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    theirs_A1 = write_adapter(tmp_path / "adapter", base, KINDS[kind]())
    ours_A = scores(ModelConfig(path=str(tmp_path / "adapter")))
    torch.testing.assert_close(ours_A, theirs_A1[:, 0], atol=1e-5, rtol=0)
    assert ours_A.std() > 1e-2


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "gemma3_text", "opt"])
@pytest.mark.parametrize("classifier", [False, True])
def test_other_architectures_and_classifiers_as_bases(
    name: str, classifier: bool, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base", name, classifier)
    theirs_A1 = write_adapter(tmp_path / "adapter", base, KINDS["lora"]())
    ours_A = scores(ModelConfig(path=str(tmp_path / "adapter")))
    torch.testing.assert_close(ours_A, theirs_A1[:, 0], atol=1e-5, rtol=0)


def test_an_adapter_with_several_outputs(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    theirs_A3 = write_adapter(tmp_path / "adapter", base, KINDS["lora"](), outputs=3)
    ours_A = scores(ModelConfig(path=str(tmp_path / "adapter"), output=[1, 0, -0.5]))
    expected_A = theirs_A3[:, 0] - 0.5 * theirs_A3[:, 2]
    torch.testing.assert_close(ours_A, expected_A, atol=1e-5, rtol=0)
    with pytest.raises(ModelError, match=r"model\.output: none given for .*LABEL_2"):
        check_reward_model(ModelConfig(path=str(tmp_path / "adapter")))


def test_an_adapter_that_brings_tokens_brings_their_embeddings(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    tokenizer = load_tokenizer(ModelConfig(), 64)
    tokenizer.add_tokens(["<|a|>", "<|b|>"])
    tokenizer.save_pretrained(tmp_path / "adapter")
    settings, rows = KINDS["lora"](), len(tokenizer)
    theirs_A1 = write_adapter(tmp_path / "adapter", base, settings, rows=rows)
    config = ModelConfig(path=str(tmp_path / "adapter"))
    assert len(load_tokenizer(config, 64)) == rows
    torch.testing.assert_close(scores(config), theirs_A1[:, 0], atol=1e-5, rtol=0)
    embeddings = load_reward_model(config, tokenizer).classifier.get_input_embeddings()
    assert embeddings.num_embeddings == rows


def test_the_tokenizer_is_the_adapters_own_or_the_bases(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    write_adapter(tmp_path / "adapter", base, KINDS["lora"]())
    config = ModelConfig(path=str(tmp_path / "adapter"))
    assert not load_tokenizer(config, 64).chat_template.startswith("{# own #}")
    own = load_tokenizer(ModelConfig(), 64)
    own.chat_template = "{# own #}" + own.chat_template
    own.save_pretrained(tmp_path / "adapter")
    assert load_tokenizer(config, 64).chat_template.startswith("{# own #}")


def test_training_goes_on_from_the_merged_model_and_exports_a_whole_one(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    theirs_A1 = write_adapter(tmp_path / "adapter", base, KINDS["lora"]())
    config = ModelConfig(path=str(tmp_path / "adapter"))
    check_model(config, 32)
    tokenizer = training_tokenizer(config, 64)
    classifier = load_classifier(config, tokenizer, torch.float32, seed=0)
    assert all(weight.requires_grad for weight in classifier.parameters())
    weights = dict(classifier.named_parameters())
    export(classifier, weights, None, tokenizer, tmp_path / "model")
    exported_A = scores(ModelConfig(path=str(tmp_path / "model")))
    torch.testing.assert_close(exported_A, theirs_A1[:, 0], atol=1e-5, rtol=0)


def change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def rename(folder: Path, old: str, new: str) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name.replace(old, new): one for name, one in load_file(file).items()}, file)


def drop_head(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name: one for name, one in load_file(file).items() if "score" not in name}, file)


REFUSED: dict[str, tuple[Any, str]] = {
    "a policy": (
        lambda folder: change(folder / "adapter_config.json", task_type="CAUSAL_LM"),
        "is an adapter with task_type CAUSAL_LM; allowed: SEQ_CLS",
    ),
    "no base": (
        lambda folder: change(folder / "adapter_config.json", base_model_name_or_path=None),
        "names no base model",
    ),
    "a base that is not there": (
        lambda folder: change(folder / "adapter_config.json", base_model_name_or_path="/nowhere"),
        "cannot load /nowhere",
    ),
    "no JSON": (
        lambda folder: (folder / "adapter_config.json").write_text("{"),
        "cannot load .*Expecting property name",
    ),
    "a damaged file": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"damaged"),
        "cannot load .*header",
    ),
    "another architecture's names": (
        lambda folder: rename(folder, "model.layers", "model.language_model.layers"),
        "does not fit its base model .*: it has no model.layers.0",
    ),
    "no head": (drop_head, "holds a LlamaForCausalLM; allowed: a sequence classifier"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_adapter_with_a_reward(name: str, tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", write_base(tmp_path / "base"), KINDS["lora"]())
    spoil, message = REFUSED[name]
    spoil(tmp_path / "adapter")
    with pytest.raises(ModelError, match=rf"model\.path: .*{message}") as error:
        scores(ModelConfig(path=str(tmp_path / "adapter")))
    assert "\n" not in str(error.value)


def test_a_prompt_cannot_be_merged(tmp_path: Path) -> None:
    settings = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
    write_adapter(tmp_path / "adapter", write_base(tmp_path / "base", classifier=True), settings)
    with pytest.raises(ModelError, match=r"cannot be merged into weights \(PROMPT_TUNING\)"):
        scores(ModelConfig(path=str(tmp_path / "adapter")))


def test_an_adapter_that_could_run_code_is_not_read(tmp_path: Path) -> None:
    adapter, ran = tmp_path / "adapter", tmp_path / "ran"
    write_adapter(adapter, write_base(tmp_path / "base"), KINDS["lora"]())
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"score.weight": Touch(ran)}, adapter / "adapter_model.bin")
    config = ModelConfig(path=str(adapter))
    for refused in (
        lambda: check_reward_model(config),
        lambda: load_reward_model(config, load_tokenizer(ModelConfig(), 64)),
        lambda: load_tokenizer(config, 64),
    ):
        with pytest.raises(ModelError, match=r"has no adapter_model\.safetensors; allowed"):
            refused()
    assert not ran.exists()


def test_a_reward_adapter_is_no_policy(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", write_base(tmp_path / "base"), KINDS["lora"]())
    with pytest.raises(ModelError, match="an adapter with a reward head; allowed: a causal LM"):
        check_model(ModelConfig(path=str(tmp_path / "adapter")), policy=True)
