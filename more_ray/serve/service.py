"""The Ray Serve deployment: a replica's model, its queue and its API."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from ray.serve import metrics

from more_ray.calibrate.opinions import Opinion, Opinions
from more_ray.calibrate.populations import ByPopulation, populations_of
from more_ray.config.serve import ServeConfig
from more_ray.data.rejects import InvalidRecord, Reason
from more_ray.device import SCORING_TOKENS, made_apart, use_threads
from more_ray.model.scorer import Answers, Features, Scorer, joined
from more_ray.serve.api import NotFiniteError, make_api
from more_ray.serve.as_vllm import ClassifyRequest, tokens_of
from more_ray.serve.batches import Batches
from more_ray.serve.listener import Bounded, Listener
from more_ray.serve.schemas import Info

logger = logging.getLogger("ray.serve")  # writes the request's id and route beside each line
ANSWERS_AT_ONCE = 8
"""Answers of one prompt that are computed together for a handle, which may ask for any number."""

SHORT = 2_000
"""Characters that are tokenised at once: a thread would begin and end later than that takes."""


class RewardService:
    """Scores by HTTP, and by handle: `handle.score.remote(prompt=..., responses=[...])`."""

    def __init__(self, config: ServeConfig, digest: str | None, device: str = "cpu") -> None:
        use_threads(config.max_replicas, config.threads)
        self._config = config
        self._digest = digest
        self._listener: Listener | None = None
        self._scorer = made_apart(
            lambda: Scorer(config.model, config.max_length, device, config.prompt_cache_mib)
        )
        self._populations = populations_of(config.model, self._scorer.classifier)
        self._batches: Batches[Answers, Features] = Batches(
            self._compute, config.batch_tokens or SCORING_TOKENS[device]
        )
        self._opinions = Opinions(config.model, self._populations, config.temperature)
        temperature, origin = self._opinions.temperature()
        self.info = Info(
            model=config.model.path,
            revision=config.model.revision,
            max_length=self._scorer.max_length,
            temperature=temperature,
            temperature_from=origin,
            sources=list(self._opinions.sources),
            source=self._opinions.whose,
            uncertainty=self._opinions.know_doubt,
            label=self._scorer.classifier.config.id2label[0],
        )
        self._answers = metrics.Counter("more_ray_answers_scored", "Answers scored.")
        self._tokens = metrics.Counter("more_ray_tokens_scored", "Tokens computed.")
        self._prompts_computed = metrics.Counter(
            "more_ray_prompt_tokens_computed", "Tokens of prompts computed."
        )
        self._prompts_reused = metrics.Counter(
            "more_ray_prompt_tokens_reused", "Tokens of prompts that were computed before."
        )
        self._not_finite = metrics.Counter(
            "more_ray_scores_not_finite", "Answers whose score is NaN or infinite."
        )
        self._batch_tokens = metrics.Histogram(
            "more_ray_batch_tokens",
            "Tokens of a forward pass.",
            boundaries=[2.0**power for power in range(5, 17)],
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return make_api(self, self._digest)

    async def reconfigure(self, listen: dict[str, Any]) -> None:
        """Listen on `host` and `port`; Serve calls it with the `user_config`, if there is one."""
        config = self._config
        most = config.max_ongoing + config.max_queued
        app = Bounded(make_api(self, self._digest), most, config.timeout)
        self._listener = Listener(app, **listen)
        self._listener.start()

    async def __del__(self) -> None:
        """Serve awaits it before the replica ends."""
        if self._listener:
            await self._listener.stop()

    async def score(
        self, prompt: Any, responses: Sequence[str], source: str | None = None
    ) -> list[float]:
        """The reward of each answer to a prompt: messages, a transcript, or what a user says.

        Args:
            source: whose rewards, as in `opinion`.

        Raises:
            InvalidRecord: the prompt and answers cannot be scored.
            UserError: there is no such source.
            NotFiniteError: the model gives an answer no finite score.
        """
        return (await self.opinion(prompt, responses, source)).scores

    async def opinion(
        self,
        prompt: Any,
        responses: Sequence[str],
        source: str | None = None,
        preferences: bool = False,
        uncertainty: bool = False,
    ) -> Opinion:
        """What a source thinks of answers, or people never asked ("unknown"), or the model itself.

        Raises:
            InvalidRecord, NotFiniteError: as `score`.
            UserError: there is no such source, or it is not known how sure the heads are.
        """
        self._opinions.check(source, uncertainty)
        features = await self._limited([await self._tokenised(prompt, responses)])
        if source is None and not uncertainty:
            return self._opinions.of(features, preferences=preferences)
        # In a thread: with doubt it is a product of large matrices, and it may read a file.
        return await asyncio.to_thread(
            self._opinions.of, features, source, preferences, uncertainty
        )

    async def score_texts(self, texts: Sequence[str], prompts: Sequence[str] | None) -> list[float]:
        """The reward of each whole text; neighbours with the same prompt share its computation."""
        return await self._rewards(await asyncio.to_thread(self._scorer.texts, texts, prompts))

    async def score_continued(self, prompt: str | list[dict[str, str]], response: str) -> float:
        """The reward of a policy's answer, which may end in special tokens.

        Args:
            prompt: the text that the policy continued, or messages.
        """
        if isinstance(prompt, str):
            begun, text = prompt, prompt + response
        else:
            (text,) = await asyncio.to_thread(self._scorer.rendered, prompt, [response])
            begun = text.rpartition(response.strip())[0] if response.strip() else text
        (reward,) = await self.score_texts([text], [begun])
        return reward

    async def score_as_given(self, request: ClassifyRequest) -> tuple[list[float], int]:
        """The reward of each text as it is, and how many tokens all have.

        Raises:
            InvalidRecord, UserError: the texts cannot be scored.
            NotFiniteError: the model gives one no finite score.
        """
        texts = await asyncio.to_thread(tokens_of, request, self._scorer)
        rewards = await self._rewards([Answers([tokens]) for tokens in texts])
        return rewards, sum(map(len, texts))

    def check_health(self) -> None:
        self._batches.check()

    async def by_population(self, prompt: Any, responses: Sequence[str]) -> ByPopulation:
        """What the model itself and each source think of any number of answers, for handles.

        Raises:
            InvalidRecord, NotFiniteError: as `score`.
        """
        answers = await self._tokenised(prompt, responses)
        reward_A, z_AH = await self._features(answers.parts(ANSWERS_AT_ONCE))
        if self._populations is None or z_AH is None:
            return ByPopulation((), reward_A[None].double().numpy())
        found = self._populations.by_population(z_AH.double().numpy(), self._opinions.whose)
        found.reward_PA[0] = reward_A  # to the last digit what `score` gives
        return found

    async def _tokenised(self, prompt: Any, responses: Sequence[str]) -> Answers:
        if len(str(prompt)) * len(responses) + len(str(responses)) <= SHORT:
            return self._scorer.answers(prompt, responses)
        return await asyncio.to_thread(self._scorer.answers, prompt, responses)

    async def _rewards(self, prompts: list[Answers]) -> list[float]:
        return (await self._limited(prompts))[0].tolist()

    async def _limited(self, prompts: list[Answers]) -> Features:
        """The features of a request that is not too large."""
        tokens = sum(map(self._scorer.tokens, prompts))
        if tokens > self._config.request_tokens:
            allowed = f"{tokens} tokens, {self._config.request_tokens} are allowed"
            raise InvalidRecord(Reason.TOO_LONG, allowed)
        return await self._features(prompts)

    async def _features(self, prompts: list[Answers]) -> Features:
        """Rewards and last hidden states of all answers, in order."""
        sizes = [self._scorer.tokens(answers) for answers in prompts]
        reward_A, z_AH = joined(await asyncio.gather(*map(self._batches.result, prompts, sizes)))
        scores = reward_A.tolist()
        broken = [index for index, score in enumerate(scores) if not math.isfinite(score)]
        if broken:
            self._not_finite.inc(len(broken))
            score = scores[broken[0]]
            error = NotFiniteError(f"the score of answer {broken[0]} is not finite: {score}")
            logger.error(f"{error}; {len(broken)} of {len(scores)} are not, by {self.info.model}")
            raise error
        return reward_A, z_AH

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
