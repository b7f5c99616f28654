"""Requests to OpenAI-compatible endpoints: paced, with retries, and with errors in one line."""

from __future__ import annotations

import asyncio
import os
import time
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

from more_ray.config.endpoint import RequestConfig
from more_ray.errors import UserError

REFUSED = (BadRequestError, UnprocessableEntityError)
"""What an endpoint says of a request that it does not take: HTTP status 400 or 422."""
FAILED = (APIError, ValueError)
"""All that goes wrong with a request; ValueError: the answer is no chat completion."""


class Pace:
    """Lets a request start every `60 / per_minute` seconds; without a limit, at once."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def wait(self, _request: Any) -> None:
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self._gap
        await asyncio.sleep(start - now)


def api_key(variable: str | None) -> str:
    """The API key in an environment variable; a placeholder where no variable is named.

    Raises:
        UserError: the variable is empty or unset.
    """
    key = "none" if variable is None else os.environ.get(variable)
    if not key:
        raise UserError(
            f"api_key_env: the environment variable {variable} holds no API key; "
            "api_key_env=null is for an endpoint that needs no key"
        )
    return key


def open_client(base_url: str, key: str, config: RequestConfig, pace: Pace) -> AsyncOpenAI:
    """A client that retries by itself; the pace holds for retries as well."""
    return AsyncOpenAI(
        base_url=base_url,
        api_key=key,
        max_retries=config.retries,
        timeout=config.timeout,
        http_client=DefaultAsyncHttpxClient(event_hooks={"request": [pace.wait]}),
    )


async def complete(client: AsyncOpenAI, **request: Any) -> Any:
    """A chat completion with at least one choice, each with a text or None for its message's
    content; raises one of `FAILED` where there is none.

    The client passes on whatever JSON comes with status 200.
    """
    completion = await client.chat.completions.create(**request)
    choices = getattr(completion, "choices", None)
    messages = [getattr(choice, "message", None) for choice in choices or ()]
    if not messages or not all(
        isinstance(getattr(message, "content", 0), str | None) for message in messages
    ):
        raise ValueError("no chat completion")
    return completion


def explain(client: AsyncOpenAI, error: Exception) -> str:
    """A line for one of `FAILED`, for work that a rerun goes on with."""
    return f"{reason(client, error)}; the answers so far are kept; a rerun asks for the rest"


def reason(client: AsyncOpenAI, error: Exception) -> str:
    """What the endpoint said, in one line."""
    if isinstance(error, APIStatusError):
        said = f"HTTP {error.status_code}: {error.message}"
    elif isinstance(error, APIConnectionError):
        said = f"{error.message} {error.__cause__ or ''}".strip()
    else:
        said = f"not a chat completion: {error}"
    return f"{client.base_url}: {' '.join(said.split())[:300]}"
