"""Asking a judge through any OpenAI-compatible endpoint, several questions at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from openai import AsyncOpenAI

from more_ray.endpoint import FAILED, REFUSED, complete, explain
from more_ray.errors import UserError
from more_ray.judge.cache import Answer, AnswerCache


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
            except REFUSED as error:
                refused[key] = error.message
            except FAILED as error:
                todo.clear()
                raise UserError(explain(client, error)) from error
            on_answer()

    ends = await asyncio.gather(*(work() for _ in range(concurrency)), return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end
    return refused


async def _ask(client: AsyncOpenAI, request: dict[str, Any]) -> Answer:
    completion = await complete(client, **request)
    usage = completion.usage
    return Answer(
        completion.choices[0].message.content or "",
        (usage and usage.prompt_tokens) or 0,
        (usage and usage.completion_tokens) or 0,
    )
