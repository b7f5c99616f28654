"""The Ray Serve deployment: a replica's model, its queue and its API."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import torch
from fastapi import FastAPI
from ray.serve import metrics

from more_ray.calibrate.populations import ByPopulation, populations_of
from more_ray.config.serve import ServeConfig
from more_ray.data.rejects import InvalidRecord, Reason
from more_ray.device import SCORING_TOKENS, use_threads
from more_ray.evaluate.temperature import model_temperature
from more_ray.model.scorer import Answers, Features, Scorer
from more_ray.serve.api import NotFiniteError, make_api
from more_ray.serve.batches import Batches
from more_ray.serve.schemas import Info

ANSWERS_AT_ONCE = 8
"""Answers of one prompt that are computed together for a handle, which may ask for any number."""


class RewardService:
    """Scores by HTTP, and by handle: `handle.score.remote(prompt=..., responses=[...])`."""

    def __init__(self, config: ServeConfig, digest: str | None, device: str = "cpu") -> None:
        use_threads(config.max_replicas, config.threads)
        self._config = config
        self._digest = digest
        self._scorer = Scorer(
            config.model, config.max_length, device, prompt_cache_mib=config.prompt_cache_mib
        )
        self._populations = populations_of(config.model, self._scorer.classifier)
        self._batches: Batches[Answers, Features] = Batches(
            self._compute, config.batch_tokens or SCORING_TOKENS[device]
        )
        temperature, origin = config.temperature, "given"
        if temperature is None:
            temperature, origin = model_temperature(config.model)
        self.info = Info(
            model=config.model.path,
            revision=config.model.revision,
            max_length=self._scorer.max_length,
            temperature=temperature,
            temperature_from=origin,
        )
        self._answers = metrics.Counter("more_ray_answers_scored", "Answers scored.")
        self._tokens = metrics.Counter("more_ray_tokens_scored", "Tokens computed.")
        self._prompts_computed = metrics.Counter(
            "more_ray_prompt_tokens_computed", "Tokens of prompts computed."
        )
        self._prompts_reused = metrics.Counter(
            "more_ray_prompt_tokens_reused",
            "Tokens of prompts that were computed before.",
        )
        self._batch_tokens = metrics.Histogram(
            "more_ray_batch_tokens",
            "Tokens of a forward pass.",
            boundaries=[2.0**power for power in range(5, 17)],
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return make_api(self, self._digest)

    async def score(self, prompt: Any, responses: Sequence[str]) -> list[float]:
        """The reward of each answer to a prompt: messages, a transcript, or what a user says.

        Raises:
            InvalidRecord: the prompt and answers cannot be scored.
            NotFiniteError: the model gives an answer no finite score.
        """
        answers = await asyncio.to_thread(self._scorer.answers, prompt, responses)
        return await self._rewards([answers])

    async def score_texts(self, texts: Sequence[str], prompts: Sequence[str] | None) -> list[float]:
        """The reward of each whole text; neighbours with the same prompt share its computation."""
        return await self._rewards(await asyncio.to_thread(self._scorer.texts, texts, prompts))

    def check_health(self) -> None:
        self._batches.check()

    async def by_population(self, prompt: Any, responses: Sequence[str]) -> ByPopulation:
        """What everybody and each source think of any number of answers to a prompt, for handles.

        Raises:
            InvalidRecord, NotFiniteError: as `score`.
        """
        answers = await asyncio.to_thread(self._scorer.answers, prompt, responses)
        reward_A, z_AH = await self._features(answers.parts(ANSWERS_AT_ONCE))
        if self._populations is None or z_AH is None:
            return ByPopulation((), reward_A[None].double().numpy())
        found = self._populations.by_population(z_AH.double().numpy())
        found.reward_PA[0] = reward_A  # of `model.source`, if that is set
        return found

    async def _rewards(self, prompts: list[Answers]) -> list[float]:
        sizes = [self._scorer.tokens(answers) for answers in prompts]
        if sum(sizes) > self._config.request_tokens:
            allowed = f"{sum(sizes)} tokens, {self._config.request_tokens} are allowed"
            raise InvalidRecord(Reason.TOO_LONG, allowed)
        return (await self._features(prompts))[0].tolist()

    async def _features(self, prompts: list[Answers]) -> Features:
        """Rewards and last hidden states of all answers, in order."""
        sizes = [self._scorer.tokens(answers) for answers in prompts]
        found = await asyncio.gather(*map(self._batches.result, prompts, sizes))
        reward_A = torch.cat([reward_a for reward_a, _ in found])
        for index, score in enumerate(reward_A.tolist()):
            if not math.isfinite(score):
                raise NotFiniteError(f"the score of answer {index} is not finite: {score}")
        states = [z_aH for _, z_aH in found if z_aH is not None]
        return reward_A, torch.cat(states) if states else None

    def _compute(self, prompts: Sequence[Answers]) -> list[Features]:
        features = self._scorer.features(prompts)
        work = self._scorer.work
        self._answers.inc(sum(map(len, prompts)))
        self._batch_tokens.observe(work.computed)
        for counter, tokens in (
            (self._tokens, work.computed),
            (self._prompts_computed, work.prompts_computed),
            (self._prompts_reused, work.prompts_reused),
        ):
            if tokens:  # Ray refuses to add 0
                counter.inc(tokens)
        return features
