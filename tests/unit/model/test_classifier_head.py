"""Classifiers of others: with several outputs, and with heads that are not called `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import small_config
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    CTRLConfig,
    DebertaV2Config,
    LlamaConfig,
    LlamaForSequenceClassification,
    ModernBertDecoderConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from more_ray.config import ModelConfig
from more_ray.data.packing import pack_answers
from more_ray.errors import ModelError
from more_ray.model.classifier_head import to_one_output
from more_ray.model.export import export
from more_ray.model.loading import (
    check_model,
    check_reward_model,
    load_classifier,
    load_reward_model,
    load_tokenizer,
)
from more_ray.model.tokenizer import training_tokenizer

ANSWERS = [[5, 6, 7, 8], [5, 6, 9], [5, 11, 12, 13, 14]]
SMALL: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 2, "max_position_embeddings": 64}
OTHERS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**SMALL),
    "roberta": RobertaConfig(**SMALL),
    "deberta": DebertaV2Config(**SMALL, pooler_hidden_size=16),
    "a linear layer and a norm first": ModernBertDecoderConfig(**SMALL, layer_types=None),
    "another name": CTRLConfig(n_embd=16, dff=16, n_layer=1, n_head=2, n_positions=64),
}
"""Heads that are not only a bias-free linear layer `score`."""


def written(config: PretrainedConfig, folder: Path, labels: list[str]) -> PreTrainedModel:
    """A classifier with random weights in a folder, with the simulator's tokenizer."""
    tokenizer = load_tokenizer(ModelConfig(), 64)
    config.update({"vocab_size": len(tokenizer), "pad_token_id": 0, "initializer_range": 0.2})
    config.id2label = dict(enumerate(labels))
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight)  # zeros at first, which would hide a bias that is lost
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def logits(model: PreTrainedModel) -> Tensor:
    """`[A, C]`, each text alone."""
    with torch.no_grad():
        return torch.cat([model(torch.tensor([tokens])).logits for tokens in ANSWERS])


def scores(config: ModelConfig) -> Tensor:
    """`[A]`, as the package scores the texts."""
    check_reward_model(config, 32)
    model = load_reward_model(config, load_tokenizer(config, 64))
    with torch.no_grad():
        return model.score(pack_answers([ANSWERS]))[0]


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "opt", "gemma3", "qwen2", *OTHERS])
def test_an_output_or_a_weighted_sum_is_the_reward(name: str, tmp_path: Path) -> None:
    config = OTHERS[name] if name in OTHERS else small_config(name)
    logits_A3 = logits(written(config, tmp_path, ["kind", "true", "short"]))
    for output, weight_C in ((2, [0, 0, 1]), ([0.5, 2, -1], [0.5, 2, -1])):
        scored_A = scores(ModelConfig(path=str(tmp_path), output=output))
        torch.testing.assert_close(
            scored_A, logits_A3 @ torch.tensor(weight_C, dtype=torch.float), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("name", OTHERS)
def test_a_head_of_any_kind_is_scored_but_not_trained(name: str, tmp_path: Path) -> None:
    logits_A1 = logits(written(OTHERS[name], tmp_path, ["reward"]))
    config = ModelConfig(path=str(tmp_path))
    torch.testing.assert_close(scores(config), logits_A1[:, 0], atol=1e-5, rtol=0)
    with pytest.raises(ModelError, match=r"has no bias-free `score` head but .*`classifier` \("):
        check_model(config)


def test_training_and_export_go_on_with_the_one_output(tmp_path: Path) -> None:
    config = small_config("llama")
    config.problem_type = "multi_label_classification"  # a pipeline would take a sigmoid
    logits_A2 = logits(written(config, tmp_path, ["a", "b"]))
    settings = ModelConfig(path=str(tmp_path), output=1)
    check_model(settings, 32)
    tokenizer = training_tokenizer(settings, 64)
    for dtype in (torch.bfloat16, torch.float32):
        classifier = load_classifier(settings, tokenizer, dtype, seed=0)
        assert classifier.score.weight.dtype == dtype
    weights = dict(classifier.named_parameters())
    export(classifier, weights, None, tokenizer, tmp_path / "model")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert (again.config.num_labels, again.config.problem_type) == (1, None)
    torch.testing.assert_close(logits(again), logits_A2[:, 1:], atol=1e-5, rtol=0)
    served = ModelConfig(path=str(tmp_path / "model"))
    torch.testing.assert_close(scores(served), logits_A2[:, 1], atol=1e-5, rtol=0)


def test_a_sum_in_half_precision_is_not_rounded(tmp_path: Path) -> None:
    """Differences of rows may be much smaller than the rows."""
    model = written(small_config("llama"), tmp_path, ["a", "b"]).bfloat16()
    model.save_pretrained(tmp_path)
    config = ModelConfig(path=str(tmp_path), output=[1, -0.999])
    found = load_reward_model(config, load_tokenizer(config, 64)).classifier.score.weight
    row_2H = model.score.weight.float()
    torch.testing.assert_close(found, (row_2H[0] - 0.999 * row_2H[1])[None], atol=1e-6, rtol=0)


LABELS = ["kind", "true", "short"]


@pytest.mark.parametrize(
    ("labels", "output", "message"),
    [
        (LABELS, None, r"none given for .*; allowed: one of its outputs 0 \(kind\), 1 \(true\), 2"),
        (LABELS, 3, r"3 given for .* or a list of 3 weights of their sum"),
        (LABELS, [1.0, 2.0], r"\[1.0, 2.0\] given for .* or a list of 3 weights"),
        (["reward"], 1, "1 given for .*; allowed: 0 or a list of one weight, as it has one output"),
        (["reward"], [1.0, 0.0], r"\[1.0, 0.0\] given for .*; allowed: 0 or a list of one weight"),
    ],
)
def test_outputs_that_do_not_fit_are_one_line(
    labels: list[str], output: Any, message: str, tmp_path: Path
) -> None:
    written(small_config("llama"), tmp_path, labels)
    config = ModelConfig(path=str(tmp_path), output=output)
    tokenizer = load_tokenizer(config, 64)
    for refused in (
        lambda: check_reward_model(config),
        lambda: check_model(config),
        lambda: load_reward_model(config, tokenizer),
    ):
        with pytest.raises(ModelError, match=rf"model\.output: {message}") as error:
            refused()
        assert "\n" not in str(error.value)


def test_one_output_is_taken_as_it_is_or_scaled(tmp_path: Path) -> None:
    logits_A = logits(written(small_config("llama"), tmp_path, ["reward"]))[:, 0]
    for output, factor in ((None, 1), (0, 1), ([-2.0], -2)):
        scored_A = scores(ModelConfig(path=str(tmp_path), output=output))
        torch.testing.assert_close(scored_A, factor * logits_A, atol=1e-5, rtol=0)


def test_a_head_without_a_linear_layer_at_its_end_is_refused(tmp_path: Path) -> None:
    config = AutoConfig.for_model("perceiver", d_latents=8, d_model=8, num_latents=2, vocab_size=20)
    config.update({"num_self_attends_per_block": 1, "num_self_attention_heads": 1})
    config.update({"num_cross_attention_heads": 1, "num_labels": 300})
    model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(ModelError, match="head of PerceiverForSequenceClassification ends in no"):
        to_one_output(model, torch.ones(300), torch.float32)


@given(
    arrays("float32", (3, 8), elements=st.floats(-4, 4, width=32)),
    arrays("float32", 3, elements=st.floats(-4, 4, width=32)),
    arrays("float32", 3, elements=st.floats(-4, 4, width=32)),
)
def test_the_new_head_is_the_weighted_sum_of_the_rows(
    weight_3H: Any, bias_3: Any, sum_3: Any
) -> None:
    small = BertConfig(**{**SMALL, "hidden_size": 8}, vocab_size=8, num_labels=3)
    model = bert(small)
    model.classifier.weight = torch.nn.Parameter(torch.from_numpy(weight_3H))
    model.classifier.bias = torch.nn.Parameter(torch.from_numpy(bias_3))
    to_one_output(model, torch.from_numpy(sum_3), torch.float32)
    expected_H = torch.from_numpy(sum_3 @ weight_3H)
    torch.testing.assert_close(model.classifier.weight[0], expected_H, atol=1e-4, rtol=0)
    assert model.classifier.bias.item() == pytest.approx(float(sum_3 @ bias_3), abs=1e-4)
    assert model.config.num_labels == model.num_labels == 1


def bert(config: BertConfig) -> BertForSequenceClassification:
    """Without a trunk, which a head's arithmetic does not need."""
    model = BertForSequenceClassification(config)
    model.bert = torch.nn.Identity()
    return model


@pytest.mark.parametrize("output", [-1, 0.5, [], [float("nan")], "helpful"])
def test_what_is_neither_an_index_nor_weights(output: Any) -> None:
    with pytest.raises(ValueError, match="output"):
        ModelConfig(output=output)


def test_a_policy_of_several_outputs_is_none(tmp_path: Path) -> None:
    shape = LlamaConfig(**SMALL, num_labels=3)
    LlamaForSequenceClassification(shape).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"model\.output: none given"):
        check_model(ModelConfig(path=str(tmp_path)), policy=True)
