"""Settings of the judge, and of a comparison of answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from more_ray.config.base import Seed
from more_ray.config.endpoint import RequestConfig

Criterion = Literal["helpful", "harmless"]


class JudgeEndpoint(RequestConfig):
    base_url: str = "https://api.openai.com/v1"
    """Any endpoint that speaks OpenAI's chat completions."""
    model: str
    """The judge, by the name that the endpoint knows it under."""
    api_key_env: str | None = "OPENAI_API_KEY"
    """The environment variable that holds the API key. null: the endpoint needs no key."""
    limit: int | None = Field(None, ge=1)
    """At most this many pairs, a seeded sample; a larger sample contains the smaller ones."""
    seed: Seed = 0
    """Seed of that sample."""
    max_tokens: int = Field(256, ge=1)
    """Most tokens of an answer of the judge; a reasoning model needs many more."""
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls that limit: OpenAI's newer models take only the second."""
    temperature: float | None = Field(0.0, ge=0)
    """Sampling temperature. null: the endpoint's own, the only one that some models take."""
    cache: str = "~/.cache/more_ray/judge"
    """Local folder of the judge's answers. An answer in it is never requested again."""
    input_price: float | None = Field(None, ge=0)
    """Price of a million input tokens, for the estimate."""
    output_price: float | None = Field(None, ge=0)
    """Price of a million output tokens, for the estimate."""


class JudgeConfig(JudgeEndpoint):
    answers: str
    """Parquet file (path or URI) of the answers to judge, with the columns `row` (an integer that
    names the prompt), `prompt` (a list of messages, each `role` and `content`) and `response`."""
    against: str
    """Another such file, with other answers to the same prompts under the same `row`."""
    output_dir: str = "outputs/judge"
    """Where `judge.json` and `judgements.parquet` go: a path, or any URI that pyarrow's filesystems
    open."""
    criterion: Criterion = "helpful"
    """The quality that the judge compares the answers by."""
    estimate_only: bool = False
    """Show the expected cost, and send no request."""
