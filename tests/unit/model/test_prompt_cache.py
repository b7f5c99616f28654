"""Kept prompts change no score: with and without them, and with any other requests in the batch."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from architectures import ARCHITECTURES, SHAPE, small_config
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, Phi3Config, PretrainedConfig

from more_ray.data.packing import pack_answers, packed_tokens
from more_ray.model.prompt_cache import KeptPrompt, PromptCache
from more_ray.model.reward_model import RewardModel, choose_batch_format
from more_ray.model.scoring_batch import SHORT_PROMPT, Answers, Features, ScoringBatch

LONG = SHORT_PROMPT + 6
PROMPTS = [list(range(3, 3 + tokens)) for tokens in (LONG, LONG - 1, SHORT_PROMPT, 5, 0)]
PROMPTS.append([7] * LONG)
OWN = st.lists(st.integers(3, 6), min_size=1, max_size=8)


@st.composite
def requests(draw: st.DrawFn) -> Answers:
    prompt = draw(st.sampled_from(PROMPTS))
    beginning = draw(st.sampled_from([[], [3] * 5, [4] * 30]))  # of all answers
    own = draw(st.lists(OWN, min_size=1, max_size=3))
    return Answers([prompt + beginning + answer for answer in own], len(prompt))


BATCHES = st.lists(st.lists(requests(), min_size=1, max_size=4), min_size=1, max_size=4)


def make_model(config: PretrainedConfig) -> RewardModel:
    torch.manual_seed(0)
    classifier = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        classifier.score.weight.normal_(std=0.3)
    model = RewardModel(classifier).eval()
    choose_batch_format(model, "auto")
    return model


model_of = cache(lambda name: make_model(small_config(name)))


@torch.no_grad()
def features(model: RewardModel, batch: ScoringBatch, kept: PromptCache) -> list[Features]:
    scored = model.score(batch.packed, batch.beginnings)
    batch.keep(kept)
    return batch.by_request(*scored)


@torch.no_grad()
def alone(model: RewardModel, request: Answers) -> Features:
    scored = [model.score(pack_answers([[row]])) for row in request]
    return torch.cat([reward for reward, _ in scored]), torch.cat([z for _, z in scored])


def assert_alike(found: Features, expected: Features) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "gpt2"])
@given(BATCHES, st.sampled_from([0, 30_000, 2**20]))
@settings(max_examples=15, deadline=None)
def test_rewards_and_states_are_those_of_each_answer_alone(
    name: str, batches: list[list[Answers]], limit: int
) -> None:
    model, kept = model_of(name), PromptCache(limit)
    for batch in batches:
        found = features(model, ScoringBatch(batch, kept), kept)
        for request, one in zip(batch, found, strict=True):
            assert_alike(one, alone(model, request))
        assert kept.nbytes <= limit


@given(st.lists(requests(), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_a_batch_has_no_more_tokens_than_its_requests_by_themselves(batch: list[Answers]) -> None:
    work = ScoringBatch(batch, PromptCache(0)).work
    assert work.computed <= sum(map(packed_tokens, batch))
    known = sum(len(request.prompt_tokens()) for request in batch)
    assert work.prompts_computed + work.prompts_reused == known


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_that_packs_keeps_prompts(name: str) -> None:
    model, kept = make_model(small_config(name)), PromptCache(2**30)
    if not model.keeps_prompts:
        assert not model.packed
        return
    prompt = list(range(3, 3 + LONG))
    request = Answers([[*prompt, 5, 6, 7], [*prompt, 8]], LONG)
    first = ScoringBatch([request], kept)
    assert_alike(features(model, first, kept)[0], alone(model, request))
    again = ScoringBatch([request], kept)
    assert again.work == (4, 0, LONG)
    assert_alike(features(model, again, kept)[0], alone(model, request))


def test_a_prompt_is_computed_once_within_a_batch_and_across_batches() -> None:
    model, kept = model_of("llama"), PromptCache(2**20)
    ask = [Answers([[*PROMPTS[0], answer]], LONG) for answer in (3, 4, 5)]
    together = ScoringBatch(ask, kept)
    assert together.work == (LONG + 3, LONG, 2 * LONG)
    features(model, together, kept)
    layers, both, heads, head_dim, fp32 = 2, 2, 2, 16, 4
    assert kept.nbytes == layers * both * heads * LONG * head_dim * fp32
    assert ScoringBatch(ask, kept).work == (3, 0, 3 * LONG)


def test_a_pass_that_fails_leaves_nothing_behind() -> None:
    model, kept = model_of("llama"), PromptCache(2**20)
    with pytest.raises(IndexError):
        features(model, ScoringBatch([Answers([[*PROMPTS[0], 10**6]], LONG)], kept), kept)
    request = Answers([[*PROMPTS[0], 3]], LONG)
    batch = ScoringBatch([request], kept)
    assert batch.work.prompts_computed == LONG
    assert_alike(features(model, batch, kept)[0], alone(model, request))


def prompt_of(nbytes: int) -> KeptPrompt:
    return KeptPrompt(1, [(torch.ones(nbytes // 4), torch.ones(nbytes // 4))])


def test_the_prompts_used_last_are_kept_within_the_limit() -> None:
    kept = PromptCache(256)
    for key in "abc":
        kept.put(key, prompt_of(40))
    assert kept.get("a") is not None
    kept.put("d", prompt_of(40))
    assert [kept.get(key) is not None for key in "abcd"] == [True, False, True, True]
    kept.put("too large", prompt_of(1_000))
    assert (len(kept), kept.nbytes) == (3, 240)
    kept.put("all", prompt_of(128))
    assert (len(kept), kept.nbytes) == (1, 256)


def test_where_the_answer_changes_the_prompts_keys_none_are_kept() -> None:
    factors = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    longrope = Phi3Config(
        **SHAPE,
        num_key_value_heads=2,
        max_position_embeddings=128,
        original_max_position_embeddings=32,
        rope_scaling={"type": "longrope", **factors},
    )
    model = make_model(longrope)
    assert (model.packed, model.keeps_prompts) == (True, False)
    # On both sides of the length from which positions are others.
    short, long = (Answers([[*PROMPTS[n], *[4] * own]], LONG) for n, own in ((0, 2), (-1, 30)))
    batch = [short, long, short]
    none = PromptCache(0)
    found = features(model, ScoringBatch(batch, none), none)
    for request, one in zip(batch, found, strict=True):
        assert_alike(one, alone(model, request))
    llama = make_model(small_config("llama"))
    assert llama.keeps_prompts
    llama.use_attention(None)
    assert not llama.keeps_prompts


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory map of Linux")
def test_the_system_gets_a_large_prompt_back() -> None:
    kept = KeptPrompt(1, [(torch.ones(2**20), torch.arange(2.0**20))]).copied()
    ((key, value),) = kept.calls
    assert torch.equal(key, torch.ones(2**20))
    assert torch.equal(value, torch.arange(2.0**20))
    address = key.data_ptr()
    assert is_mapped(address)
    del kept, key, value
    assert not is_mapped(address)


def is_mapped(address: int) -> bool:
    spans = (
        line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()
    )
    return any(int(first, 16) <= address < int(stop, 16) for first, stop in spans)
