"""Every architecture gives the scores of plain transformers on one row alone, however it runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, POLICIES, SHAPE, small_config
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    Phi3Config,
    PreTrainedModel,
)

from more_ray.config import ModelConfig
from more_ray.config.sample import SamplingConfig
from more_ray.data.formatting import encode, render, render_prompt, shared_prefix
from more_ray.data.packing import PackedAnswers, pack_answers
from more_ray.errors import ModelError
from more_ray.model.answer_tokens import AnswerTokens, head_inputs
from more_ray.model.attention import PACKED_ATTENTION
from more_ray.model.batch_format import cannot_pack
from more_ray.model.export import export
from more_ray.model.loading import (
    check_model,
    load_classifier,
    load_reward_model,
    load_reward_tokenizer,
)
from more_ray.model.reward_model import RewardModel, choose_batch_format
from more_ray.model.tokenizer import load_tokenizer, training_tokenizer
from more_ray.sample.engines.with_transformers import Sampler
from more_ray.train.engine import gather_weights

PACKED = {
    *("arcee", "deepseek_v3", "diffllama", "gemma", "glm", "glm4", "gpt2", "gpt_bigcode"),
    *("gpt_neox", "helium", "jetmoe", "llama", "mixtral", "olmo", "olmo2", "opt", "persimmon"),
    *("phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3"),
    "starcoder2",
}
"""What must not become padded unnoticed; all others must."""


def answers(times: int = 1) -> list[list[list[int]]]:
    """Answers to some prompts, longer than the windows of those that have one."""
    rng = np.random.default_rng(0)
    shared = [rng.integers(3, 100, length).tolist() for length in times * (12, 5, 20, 2)]
    return [
        [prompt + rng.integers(3, 100, length).tolist() for length in (3, 9)] for prompt in shared
    ]


def plain_scores(classifier: PreTrainedModel, batch: list[list[list[int]]]) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(
            [
                classifier(torch.tensor([answer])).logits[0].float()
                for prompt in batch
                for answer in prompt
            ]
        )


@torch.no_grad()
def plain_likelihoods(policy: PreTrainedModel, batch: list[list[list[int]]]) -> torch.Tensor:
    """The log-likelihood of each answer's own tokens, by plain transformers on its row alone."""
    found = []
    for prompt in batch:
        start = shared_prefix(*prompt)
        for answer in prompt:
            logits = policy(torch.tensor([answer])).logits[0].float().log_softmax(dim=-1)
            own = torch.tensor(answer[start:])
            found.append(logits[start - 1 : -1].gather(1, own[:, None]).sum())
    return torch.stack(found)


@torch.no_grad()
def likelihoods(policy: PreTrainedModel, batch: list[list[list[int]]]) -> torch.Tensor:
    """The same from one packed batch."""
    policy.set_attn_implementation(PACKED_ATTENTION)
    packed = pack_answers(batch)
    inputs = head_inputs(policy, packed, AnswerTokens.of(packed))
    return inputs.by_answer(inputs.log_likelihood_M)


def make_classifier(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(small_config(name), dtype=dtype).eval()
    with torch.no_grad():
        model.score.weight.normal_(std=0.3)
    return model


@torch.no_grad()
def scores(model: RewardModel, batch: PackedAnswers) -> torch.Tensor:
    return model.score(batch)[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_and_padded_scores_are_those_of_each_row_alone(name: str) -> None:
    classifier = make_classifier(name)
    batch = answers()
    alone = plain_scores(classifier, batch)
    assert alone.std() > 0.1
    model = RewardModel(classifier)
    assert (cannot_pack(classifier) is None) == (name in PACKED)
    for wanted in ("auto", "padded"):
        choose_batch_format(model, wanted)
        assert model.packed == (wanted == "auto" and name in PACKED)
        torch.testing.assert_close(scores(model, pack_answers(batch)), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_in_bf16_packed_scores_are_as_good_as_padded_ones(name: str) -> None:
    batch = pack_answers(answers(times=10))
    model = RewardModel(make_classifier(name, torch.bfloat16))
    exact = RewardModel(make_classifier(name, torch.bfloat16).float())
    model.use_attention(None)
    exact.use_attention(None)
    padded, truth = scores(model, batch), scores(exact, batch)
    choose_batch_format(model, "auto")
    assert model.packed == (name in PACKED)
    error, padded_error = (
        (one - truth).square().mean().sqrt() for one in (scores(model, batch), padded)
    )
    assert error <= 2 * padded_error


@pytest.mark.parametrize("name", ARCHITECTURES | POLICIES)
def test_policies_run_packed_or_are_refused(name: str) -> None:
    torch.manual_seed(0)
    policy = AutoModelForCausalLM.from_config(small_config(name)).eval()
    assert (cannot_pack(policy) is None) == (name in PACKED or name == "olmoe")
    if cannot_pack(policy):
        return
    batch = answers()
    alone = plain_likelihoods(policy, batch)
    torch.testing.assert_close(likelihoods(policy, batch), alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_exported_model_scores_text_as_in_training(name: str, tmp_path: Path) -> None:
    """From a base without a head, by training's loader, to another's text and plain transformers,
    and back into a server."""
    base = tmp_path / "base"
    words = training_tokenizer(ModelConfig(), 512)
    words.save_pretrained(base)
    config = small_config(name)
    config.vocab_size = len(words)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(base)

    settings = ModelConfig(path=str(base), layers=1 if name in PACKED - {"deepseek_v3"} else None)
    tokenizer = training_tokenizer(settings, 64)
    trained = RewardModel(load_classifier(settings, tokenizer, torch.float32, seed=3)).eval()
    choose_batch_format(trained, "auto")
    with torch.no_grad():
        trained.classifier.score.weight.normal_()
    turns = [{"role": "user", "content": "How much is two and two?"}]
    texts = [render(tokenizer, turns, answer) for answer in ("Four.", "It is five, I think.")]
    tokens = encode(tokenizer, texts, 64)
    expected = scores(trained, pack_answers([tokens]))

    folder = tmp_path / "run" / "model"
    weights = gather_weights(SimpleNamespace(module=trained, global_rank=0))
    export(trained.classifier, weights, None, tokenizer, folder)
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    torch.testing.assert_close(plain_scores(plain, [tokens]), expected, atol=1e-5, rtol=0)
    served_as = ModelConfig(path=str(folder))
    reader = load_reward_tokenizer(served_as, 64)
    assert encode(reader, [render(reader, turns, "Four.")], 64) == tokens[:1]
    served = load_reward_model(served_as, reader)
    torch.testing.assert_close(scores(served, pack_answers([tokens])), expected, atol=1e-5, rtol=0)


LONG = 32
"""Tokens above which the model embeds a text otherwise."""


def longrope() -> Phi3Config:
    factors = {"short_factor": [1.0, 1.5, 2.0, 2.5] * 2, "long_factor": [3.0, 4.0, 6.0, 8.0] * 2}
    return Phi3Config(
        **{**SHAPE, "initializer_range": 0.3},
        num_key_value_heads=2,
        max_position_embeddings=128,
        original_max_position_embeddings=LONG,
        rope_scaling={"type": "longrope", **factors},
    )


def on_both_sides() -> list[list[list[int]]]:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, 100, length).tolist() for length in (20, 24, 40, 6)]
    return [
        [prompt + rng.integers(3, 100, own).tolist() for own in (8, 24, 12)] for prompt in prompts
    ]


def test_texts_on_both_sides_of_longrope_do_not_change_each_other() -> None:
    torch.manual_seed(0)
    classifier = AutoModelForSequenceClassification.from_config(longrope()).eval()
    batch = on_both_sides()
    alone = plain_scores(classifier, batch)
    model = RewardModel(classifier)
    for wanted in ("packed", "padded"):
        choose_batch_format(model, wanted)
        torch.testing.assert_close(scores(model, pack_answers(batch)), alone, atol=1e-5, rtol=0)


def test_likelihoods_on_both_sides_of_longrope_do_not_change_each_other() -> None:
    torch.manual_seed(0)
    policy = AutoModelForCausalLM.from_config(longrope()).eval()
    batch = on_both_sides()
    alone = plain_likelihoods(policy, batch)
    assert alone.std() > 1
    torch.testing.assert_close(likelihoods(policy, batch), alone, atol=1e-4, rtol=0)


def test_samples_on_both_sides_of_longrope_are_those_of_plain_generation() -> None:
    tokenizer = load_tokenizer(ModelConfig(), 512)
    config = longrope()
    config.vocab_size, config.eos_token_id = len(tokenizer), tokenizer.eos_token_id
    torch.manual_seed(0)
    policy = AutoModelForCausalLM.from_config(config).eval()
    prompts = [
        [{"role": "user", "content": text}] for text in ("a", "a b c d e f g h i j", "a b " * 20)
    ]
    lengths = [
        len(row)
        for row in encode(tokenizer, [render_prompt(tokenizer, one) for one in prompts], 99)
    ]
    assert lengths[0] + 8 <= LONG < lengths[1] + 8
    assert lengths[1] < LONG < lengths[2]
    settings = SamplingConfig(samples=2, max_new_tokens=8, temperature=1e-4, stop=[])
    together = Sampler(policy, tokenizer, settings).sample(prompts, [0, 1, 2])
    for prompt, samples in zip(prompts, together, strict=True):
        (row,) = encode(tokenizer, [render_prompt(tokenizer, prompt)], 99)
        options = {"eos_token_id": 1, "pad_token_id": 0, "suppress_tokens": [0]}
        output = policy.generate(
            torch.tensor([row]),
            generation_config=GenerationConfig(max_new_tokens=8, **options),
        )
        greedy = tokenizer.decode(output[0, len(row) :], skip_special_tokens=True).strip()
        assert {one.response for one in samples} == {greedy}


@pytest.mark.parametrize("name", ["jamba", "qwen3_next", "zamba2"])
def test_samples_of_models_with_a_state_do_not_depend_on_the_batch(name: str) -> None:
    tokenizer = load_tokenizer(ModelConfig(), 512)
    config = small_config(name)
    config.vocab_size, config.eos_token_id = len(tokenizer), tokenizer.eos_token_id
    torch.manual_seed(0)
    sampler = Sampler(
        AutoModelForCausalLM.from_config(config).eval(),
        tokenizer,
        SamplingConfig(samples=2, max_new_tokens=8),
    )
    prompts = [[{"role": "user", "content": text}] for text in ("Why?", "What is it that is?")]
    together = sampler.sample(prompts, [3, 4])
    assert together == [
        sampler.sample([one], [seed])[0] for one, seed in zip(prompts, (3, 4), strict=True)
    ]


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gpt_oss", "bloom"])
def test_what_cannot_run_packed_refuses_to(name: str) -> None:
    with pytest.raises(ModelError, match=r"model\.batch_format: packed given; "):
        choose_batch_format(RewardModel(make_classifier(name)), "packed")


def test_a_head_of_zeros_does_not_hide_what_attention_does() -> None:
    classifier = make_classifier("mistral", torch.bfloat16)
    torch.nn.init.zeros_(classifier.score.weight)
    model = RewardModel(classifier)
    choose_batch_format(model, "auto")
    assert not model.packed


def test_rewards_in_bf16_do_not_tie() -> None:
    model = RewardModel(make_classifier("llama", torch.bfloat16))
    rng = np.random.default_rng(0)
    reward_A = scores(
        model, pack_answers([[rng.integers(3, 100, 12).tolist()] for _ in range(300)])
    )
    assert reward_A.dtype is torch.float32
    assert len(reward_A.unique()) == 300


def test_longrope_and_partitioned_weights(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(longrope()).save_pretrained(tmp_path)
    config = ModelConfig(path=str(tmp_path))
    check_model(config, LONG, partitioned=True)
    check_model(config, LONG + 1)
    with pytest.raises(ModelError, match=r"allowed: data\.max_length=32, or another stage"):
        check_model(config, LONG + 1, partitioned=True)
