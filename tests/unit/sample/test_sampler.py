"""What is sampled depends on prompt and seed alone, and follows the policy's distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from more_ray.config import ModelConfig
from more_ray.config.sample import SamplingConfig
from more_ray.data.formatting import render_prompt
from more_ray.data.messages import Message
from more_ray.model.loading import load_causal_lm, load_tokenizer
from more_ray.sample.engines.protocol import Sample
from more_ray.sample.engines.with_transformers import Draws, Sampler

PROMPTS = [
    [Message(role="user", content=text)]
    for text in (
        "How do I get started with baking bread?",
        "Why?",
        " ".join(["What should a beginner know about keeping bees?"] * 5),
    )
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig(), 512)


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    return load_causal_lm(ModelConfig(), tokenizer, torch.float32, seed=0)


def make_sampler(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **changes: object
) -> Sampler:
    config = SamplingConfig.model_validate({"samples": 3, "max_new_tokens": 12, **changes})
    return Sampler(model, tokenizer, config)


def test_samples_are_the_same_whatever_the_batch_mates(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    sampler = make_sampler(model, tokenizer)
    together = sampler.sample(PROMPTS, [5, 6, 7])
    assert len({sample.response for samples in together for sample in samples}) == 9
    for prompt, seed, samples in zip(PROMPTS, [5, 6, 7], together, strict=True):
        assert sampler.sample([prompt], [seed]) == [samples]
    assert sampler.sample(PROMPTS[::-1], [7, 6, 5]) == together[::-1]
    (more,) = make_sampler(model, tokenizer, samples=5).sample(PROMPTS[:1], [5])
    assert more[:3] == together[0]


def test_seeds_of_prompts_and_of_the_run_count(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    one, other = make_sampler(model, tokenizer).sample(PROMPTS[:1] * 2, [1, 2])
    assert one != other
    assert make_sampler(model, tokenizer, seed=1).sample(PROMPTS[:1], [1]) != [one]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_low_temperature_is_greedy_generation(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: list[Message]
) -> None:
    sampler = make_sampler(model, tokenizer, temperature=1e-4)
    (samples,) = sampler.sample([prompt], [0])
    input_ids = torch.tensor([tokenizer(render_prompt(tokenizer, prompt))["input_ids"]])
    output = model.generate(
        input_ids,
        generation_config=GenerationConfig(
            max_new_tokens=12, eos_token_id=1, pad_token_id=0, suppress_tokens=[0]
        ),
    )
    greedy = tokenizer.decode(output[0, input_ids.shape[1] :], skip_special_tokens=True).strip()
    assert {sample.response for sample in samples} == {greedy}


def test_draws_follow_the_distribution() -> None:
    """Frequencies of 20,000 rows against the softmax at a temperature."""
    rows, temperature = 20_000, 0.7
    scores_V = torch.tensor([1.0, 0.0, -torch.inf, 2.0, 0.5, -1.0])
    config = SamplingConfig(temperature=temperature)
    draws = Draws(config, [(0, row) for row in range(rows)], prompt_tokens=4)
    drawn = draws(torch.zeros(rows, 4, dtype=torch.long), scores_V.expand(rows, -1))
    assert torch.equal(drawn.isfinite().sum(dim=1), torch.ones(rows, dtype=torch.long))
    counts = np.bincount(drawn.argmax(dim=1), minlength=6)
    expected = rows * (scores_V / temperature).double().softmax(dim=0).numpy()
    possible = expected > 0
    assert counts[~possible].sum() == 0
    assert chisquare(counts[possible], expected[possible]).pvalue > 0.01


def test_top_p_leaves_the_fewest_tokens_that_have_that_probability() -> None:
    rows = 2_000
    scores_V = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    draws = Draws(SamplingConfig(top_p=0.65), [(0, row) for row in range(rows)], prompt_tokens=1)
    drawn = draws(torch.zeros(rows, 1, dtype=torch.long), scores_V.expand(rows, -1)).argmax(dim=1)
    assert set(drawn.tolist()) == {0, 1}


def test_steps_of_a_row_are_independent() -> None:
    scores_RV = torch.zeros(500, 100)
    draws = Draws(SamplingConfig(), [(0, row) for row in range(500)], prompt_tokens=1)
    first, second = (
        draws(torch.zeros(500, step, dtype=torch.long), scores_RV).argmax(dim=1) for step in (1, 2)
    )
    correlation = np.corrcoef(first, second)[0, 1]
    assert abs(correlation) < 0.15


def test_an_answer_ends_at_a_stop_string_which_is_cut(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Each sample that has the stop string stops there, the others are as they were."""
    plain = make_sampler(model, tokenizer, samples=8, stop=[])
    stop = next(
        letter for letter in "etaoin" if letter in plain.sample(PROMPTS[:1], [0])[0][0].response[2:]
    )
    (before,) = plain.sample(PROMPTS[:1], [0])
    (after,) = make_sampler(model, tokenizer, samples=8, stop=[stop]).sample(PROMPTS[:1], [0])
    assert any(stop in one.response for one in before)
    for one, other in zip(before, after, strict=True):
        assert other.response == one.response.split(stop)[0].strip()
        assert other.finished == (stop in one.response or one.finished)
        if stop in one.response:
            assert other.tokens <= one.tokens


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.7, "top_p": 0.9}])
def test_the_log_likelihood_is_that_of_the_models_own_distribution(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    changes: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By one forward pass over a prompt and its answer, whatever it was drawn with; also of answers
    that end early, whose rows go on as padding."""
    eos_V = torch.zeros(len(tokenizer))
    eos_V[tokenizer.eos_token_id] = 3.5
    eos_V[tokenizer.pad_token_id] = -torch.inf  # never drawn
    model.lm_head.register_forward_hook(lambda _, __, logits: logits + eos_V)
    sampler = make_sampler(model, tokenizer, samples=8, **changes)
    rows: list[list[int]] = []
    decode = sampler.decode

    def noting(token_RT: torch.Tensor, draws: Draws) -> list[Sample]:
        rows.extend(token_RT.tolist())
        return decode(token_RT, draws)

    monkeypatch.setattr(sampler, "decode", noting)
    sampled = sampler.sample(PROMPTS, [0, 1, 2])
    assert {one.finished for samples in sampled for one in samples} == {True, False}
    for prompt, samples in zip(PROMPTS, sampled, strict=True):
        before = tokenizer(render_prompt(tokenizer, prompt))["input_ids"]
        for sample in samples:
            drawn = rows.pop(0)[: sample.tokens]
            logits_TV = model(torch.tensor([before + drawn])).logits[0, len(before) - 1 : -1]
            expected = logits_TV.log_softmax(dim=-1).gather(1, torch.tensor(drawn)[:, None]).sum()
            assert sample.log_likelihood == pytest.approx(expected.item(), abs=1e-3)


def test_eos_ends_an_answer_and_the_length_cuts_it_off(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A head that leans towards EOS ends some answers early; padding never counts as tokens."""
    sampler = make_sampler(model, tokenizer, samples=16)
    eos_V = torch.zeros(len(tokenizer))
    eos_V[tokenizer.eos_token_id] = 4.5
    model.lm_head.register_forward_hook(lambda _, __, logits: logits + eos_V)
    (samples,) = sampler.sample(PROMPTS[:1], [0])
    assert {sample.finished for sample in samples} == {True, False}
    assert all((sample.tokens == 12) or sample.finished for sample in samples)
    assert any(sample.tokens < 6 for sample in samples)
    assert not any("<|" in sample.response for sample in samples)


def test_a_long_prompt_loses_its_beginning(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    sampler = make_sampler(model, tokenizer, max_prompt_tokens=10)
    input_PL, mask_PL = sampler.encode(PROMPTS)
    assert input_PL.shape == (3, 10)
    assert mask_PL.sum(dim=1).tolist()[::2] == [10, 10]
    assert tokenizer.decode(input_PL[2]).endswith("?\n\nAssistant:")


def test_the_chat_template_opens_the_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = [Message(role="system", content="Be kind."), *PROMPTS[1]]
    assert render_prompt(tokenizer, prompt) == "System: Be kind.\n\nHuman: Why?\n\nAssistant:"
    templated = load_tokenizer(ModelConfig(), 512)
    templated.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    assert render_prompt(templated, prompt) == "<system>Be kind.<user>Why?<assistant>"


def test_padding_that_is_a_stop_can_be_drawn(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A policy whose second stop token is the one that pads its tokenizer's rows."""
    pad = tokenizer.pad_token_id
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, pad]
    sampler = make_sampler(model, tokenizer, samples=16)
    pad_V = torch.zeros(len(tokenizer))
    pad_V[pad] = 4.5
    model.lm_head.register_forward_hook(lambda _, __, logits: logits + pad_V)
    (samples,) = sampler.sample(PROMPTS[:1], [0])
    assert {sample.finished for sample in samples} == {True, False}
    assert all((sample.tokens == 12) or sample.finished for sample in samples)
    assert any(1 < sample.tokens < 6 for sample in samples)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    (never,) = make_sampler(model, tokenizer, samples=16).sample(PROMPTS[:1], [0])
    assert sum(sample.finished for sample in never) < sum(sample.finished for sample in samples)
