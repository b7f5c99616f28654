"""Answers from OpenAI-compatible endpoints: all S of a prompt by one request where that is taken.

Some endpoints give fewer answers than asked for, or refuse `n` or `logprobs`. They are asked for
the rest one by one, and without what they refuse.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from more_ray.config.sample import PolicyConfig, SamplingConfig
from more_ray.data.messages import Message
from more_ray.endpoint import (
    FAILED,
    REFUSED,
    Pace,
    api_key,
    complete,
    explain,
    open_client,
    reason,
)
from more_ray.errors import UserError
from more_ray.sample.engines.protocol import EngineRecord, Sample, cut, request_seed


def open_engine(policy: PolicyConfig, sampling: SamplingConfig, gpus: float) -> Asker:
    """Raises UserError where the API key is missing."""
    return Asker(policy, sampling)


def record(policy: PolicyConfig, gpus: float) -> EngineRecord:
    """Raises UserError where the API key is missing."""
    api_key(policy.api_key_env)
    assert policy.name
    return EngineRecord(
        engine="openai", version=None, model=policy.name, dtype=None, reproducible="no"
    )


class Asker:
    """Asks endpoints in turn; may be called by several threads at a time.

    The requests of all calls run in one event loop, which keeps their pace and their number.
    """

    def __init__(self, policy: PolicyConfig, sampling: SamplingConfig) -> None:
        urls = [policy.base_url] if isinstance(policy.base_url, str) else policy.base_url or []
        pace, key = Pace(policy.requests_per_minute), api_key(policy.api_key_env)
        self._clients = [open_client(url, key, policy, pace) for url in urls]
        self._turns = cycle(range(len(urls)))
        self._model = policy.name
        self._sampling = sampling
        self._template = policy.chat_template_kwargs
        self._room = asyncio.Semaphore(policy.concurrency)
        self._gives_logprobs = self._takes_n = True
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def sample(
        self, prompts: Sequence[Sequence[Message]], seeds: Sequence[int]
    ) -> list[list[Sample]]:
        """S samples of each prompt, with seeds made of the prompt's.

        Raises:
            UserError: a request failed at every endpoint after all retries, or one refused a
                prompt.
        """
        return asyncio.run_coroutine_threadsafe(self._sample(prompts, seeds), self._loop).result()

    async def _sample(
        self, prompts: Sequence[Sequence[Message]], seeds: Sequence[int]
    ) -> list[list[Sample]]:
        answers = [
            asyncio.ensure_future(self._answers(prompt, seed))
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        try:
            return await asyncio.gather(*answers)
        finally:
            for one in answers:
                one.cancel()

    async def _answers(self, prompt: Sequence[Message], seed: int) -> list[Sample]:
        samples = self._sampling.samples
        first = await self._ask(prompt, seed, 0, samples)
        rest = (self._ask(prompt, seed, number, 1) for number in range(len(first), samples))
        return first + [sample for one in await asyncio.gather(*rest) for sample in one]

    async def _ask(
        self, prompt: Sequence[Message], seed: int, number: int, samples: int
    ) -> list[Sample]:
        """At least one sample, at most as many as asked for; `number` is that of the first.

        The next endpoint is asked where one fails.
        """
        turn, failed = next(self._turns), 0
        while True:
            async with self._room:
                logprobs, n = self._gives_logprobs, samples if self._takes_n else 1
                request = self._request(prompt, request_seed(self._sampling.seed, seed, number))
                request |= {"logprobs": True} if logprobs else {}
                request |= {"n": n} if n > 1 else {}
                client = self._clients[(turn + failed) % len(self._clients)]
                try:
                    completion = await complete(client, **request)
                    return _read(completion, self._sampling.stop)[:n]
                except REFUSED as error:
                    if n > 1 and "logprob" not in error.message:
                        self._takes_n = False
                    elif logprobs:
                        self._gives_logprobs = False
                    elif n > 1:
                        self._takes_n = False
                    else:
                        line = f"prompt {seed} was refused by {reason(client, error)}"
                        raise UserError(line) from error
                except FAILED as error:
                    # llama.cpp said 500 to several answers until the end of 2025.
                    if n > 1 and getattr(error, "status_code", None) == 500:
                        self._takes_n = False
                        continue
                    failed += 1
                    if failed == len(self._clients):
                        raise UserError(explain(client, error)) from error

    def _request(self, prompt: Sequence[Message], seed: int) -> dict[str, Any]:
        sampling = self._sampling
        request: dict[str, Any] = {
            "model": self._model,
            "messages": list(prompt),
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
        }
        request |= {"stop": sampling.stop} if sampling.stop else {}
        # Not of OpenAI's own; vLLM, SGLang and llama.cpp take it.
        template = {"chat_template_kwargs": self._template}
        return request | ({"extra_body": template} if self._template else {})


def _read(completion: Any, stops: Sequence[str]) -> list[Sample]:
    """The samples of a completion.

    Without log-probabilities only the tokens of all its answers together are known: each gets a
    share by its length.
    """
    texts = [choice.message.content or "" for choice in completion.choices]
    tokens = (completion.usage and completion.usage.completion_tokens) or 0
    characters = sum(map(len, texts)) + len(texts)
    samples = []
    for text, choice in zip(texts, completion.choices, strict=True):
        response, stopped = cut(text, stops)
        drawn = choice.logprobs.content if choice.logprobs else None
        samples.append(
            Sample(
                response,
                tokens=len(drawn) if drawn else round(tokens * (len(text) + 1) / characters),
                finished=stopped or choice.finish_reason == "stop",
                log_likelihood=sum(token.logprob for token in drawn) if drawn else None,
            )
        )
    return samples
