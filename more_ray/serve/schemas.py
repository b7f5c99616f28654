"""The requests and responses of the HTTP API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_ANSWERS = 256


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ChatMessage(Strict):
    role: Literal["system", "user", "assistant"]
    content: str


class ScoreRequest(Strict):
    """A prompt with answers to it, or one whole conversation."""

    prompt: str | list[ChatMessage] | None = None
    """Messages, a transcript ("Human: ...\\n\\nAssistant: ..."), or what a user says."""
    responses: list[str] | None = Field(None, min_length=1, max_length=MAX_ANSWERS)
    """Answers to the prompt."""
    messages: list[ChatMessage] | None = None
    """Instead: a conversation that ends with the assistant's turn."""
    calibrated: bool = False
    """Also return the probability that each answer is preferred to each other answer."""

    @model_validator(mode="after")
    def _prompt_or_messages(self) -> ScoreRequest:
        given = [self.prompt is not None, self.responses is not None, self.messages is not None]
        if given not in ([True, True, False], [False, False, True]):
            raise ValueError("either prompt and responses, or messages are allowed")
        if self.messages is not None and [turn.role for turn in self.messages[-1:]] != [
            "assistant"
        ]:
            raise ValueError(
                "messages: a conversation that ends with the assistant's turn is allowed"
            )
        return self

    def question(self) -> str | list[dict[str, str]]:
        """The prompt that is answered."""
        prompt = self.messages[:-1] if self.messages else self.prompt
        return prompt if isinstance(prompt, str) else [turn.model_dump() for turn in prompt or []]

    def answers(self) -> list[str]:
        return [self.messages[-1].content] if self.messages else self.responses or []


class ScoreResponse(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    scores: list[float]
    """The reward of each answer."""
    preferences: list[list[float]] | None = None
    """`[i][j]`: the calibrated probability that answer i is preferred to answer j."""


class RewardRequest(BaseModel):
    """As OpenRLHF's remote reward client sends it; further fields are ignored."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    query: list[str] = Field(min_length=1, max_length=MAX_ANSWERS)
    """Whole texts, prompt and answer, as they are scored."""
    prompts: list[str] | None = None
    """The prompt of each text. Neighbouring texts with the same prompt share its computation."""

    @model_validator(mode="after")
    def _a_prompt_each(self) -> RewardRequest:
        if self.prompts is not None and len(self.prompts) != len(self.query):
            raise ValueError("prompts: as many as in query are allowed")
        return self


class RewardResponse(BaseModel):
    rewards: list[float]


class Info(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    revision: str | None
    max_length: int
    """Tokens of a prompt and its answer."""
    temperature: float
    """Reward differences are divided by it for calibrated preferences."""
    temperature_from: str
    """Where the temperature comes from."""
