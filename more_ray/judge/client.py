"""Asking a judge through any OpenAI-compatible endpoint: concurrent, paced, with retries."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    AsyncOpenAI,
    BadRequestError,
    DefaultAsyncHttpxClient,
    UnprocessableEntityError,
)

from more_ray.config.judge import JudgeConfig
from more_ray.errors import UserError
from more_ray.judge.cache import Answer, AnswerCache


class Pace:
    """Lets a request start every `60 / per_minute` seconds."""

    def __init__(self, per_minute: float) -> None:
        self._gap = 60 / per_minute
        self._next = 0.0

    async def wait(self, _request: Any) -> None:
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self._gap
        await asyncio.sleep(start - now)


def open_client(config: JudgeConfig) -> AsyncOpenAI:
    """A client that retries by itself; the pace holds for retries as well.

    Raises:
        UserError: the environment variable of the API key is empty or unset.
    """
    key = "none" if config.api_key_env is None else os.environ.get(config.api_key_env)
    if not key:
        raise UserError(
            f"api_key_env: the environment variable {config.api_key_env} holds no API key; "
            "api_key_env=null is for an endpoint that needs no key"
        )
    paced = [Pace(config.requests_per_minute).wait] if config.requests_per_minute else []
    return AsyncOpenAI(
        base_url=config.base_url,
        api_key=key,
        max_retries=config.retries,
        timeout=config.timeout,
        http_client=DefaultAsyncHttpxClient(event_hooks={"request": paced}),
    )


async def ask_all(
    client: AsyncOpenAI,
    requests: Mapping[str, dict[str, Any]],
    cache: AnswerCache,
    concurrency: int,
    on_answer: Callable[[], None],
) -> dict[str, str]:
    """Put the answer to each request into the cache, under its key.

    Returns:
        What the endpoint said to requests that it refused (HTTP status 400 or 422, such as a
        conversation that is too long for the judge), by key; these are not in the cache.

    Raises:
        UserError: a request failed in another way, after all retries. Requests that were under
            way have ended, and their answers are in the cache.
    """
    todo = deque(requests.items())
    refused: dict[str, str] = {}

    async def work() -> None:
        while todo:
            key, request = todo.popleft()
            try:
                cache.put(key, await _ask(client, request))
            except (BadRequestError, UnprocessableEntityError) as error:
                refused[key] = error.message
            except (APIError, ValueError) as error:
                todo.clear()
                raise UserError(_explain(client, error)) from error
            on_answer()

    ends = await asyncio.gather(*(work() for _ in range(concurrency)), return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end
    return refused


async def _ask(client: AsyncOpenAI, request: dict[str, Any]) -> Answer:
    """Send one request; raises ValueError where the answer is no chat completion."""
    completion = await client.chat.completions.create(**request)
    if isinstance(completion, str) or not completion.choices:
        raise ValueError("no chat completion")
    usage = completion.usage
    return Answer(
        completion.choices[0].message.content or "",
        usage.prompt_tokens if usage else 0,
        usage.completion_tokens if usage else 0,
    )


def _explain(client: AsyncOpenAI, error: Exception) -> str:
    if isinstance(error, APIStatusError):
        reason = f"HTTP {error.status_code}: {error.message}"
    elif isinstance(error, APIConnectionError):
        reason = f"{error.message} {error.__cause__ or ''}".strip()
    else:
        reason = f"not a chat completion: {error}"
    text = " ".join(reason.split())[:300]
    return f"{client.base_url}: {text}; the answers so far are kept; a rerun asks for the rest"
