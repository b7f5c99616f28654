"""The requests and responses of the HTTP API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_ANSWERS = 256
REQUESTS = {
    "/score": "prompt and responses, or messages; source, calibrated, uncertainty",
    "/get_reward": "query with prompts (OpenRLHF), or prompt and response (slime)",
    "/classify": "input or messages, as vLLM takes them",
    "/pooling": "input or messages, as vLLM takes them",
}
"""What each path takes, in a few words."""


class Problem(BaseModel):
    """Why a request has no answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    detail: str
    """One line: what, where, what is allowed."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ChatMessage(Strict):
    role: Literal["system", "user", "assistant"]
    content: str


def turns(messages: list[ChatMessage]) -> list[dict[str, str]]:
    return [turn.model_dump() for turn in messages]


def check_answered(messages: list[ChatMessage]) -> None:
    if [turn.role for turn in messages[-1:]] != ["assistant"]:
        raise ValueError("messages: a conversation that ends with the assistant's turn is allowed")


class ScoreRequest(Strict):
    """A prompt with answers to it, or one whole conversation."""

    prompt: str | list[ChatMessage] | None = None
    """Messages, a transcript ("Human: ...\\n\\nAssistant: ..."), or what a user says."""
    responses: list[str] | None = Field(None, min_length=1, max_length=MAX_ANSWERS)
    """Answers to the prompt."""
    messages: list[ChatMessage] | None = None
    """Instead: a conversation that ends with the assistant's turn."""
    source: str | None = None
    """Whose rewards: those of a source that `/info` lists, or "unknown", of people who were never
    asked. Unset: by the model's own head, which is everybody's unless `model.source` is set."""
    calibrated: bool = False
    """Also return the probability that each answer is preferred to each other answer."""
    uncertainty: bool = False
    """Also return the standard deviation of each reward; preferences are drawn towards one half by
    the doubt."""

    @model_validator(mode="after")
    def _prompt_or_messages(self) -> ScoreRequest:
        given = [self.prompt is not None, self.responses is not None, self.messages is not None]
        if given not in ([True, True, False], [False, False, True]):
            raise ValueError("either prompt and responses, or messages are allowed")
        if self.messages is not None:
            check_answered(self.messages)
        return self

    def question(self) -> str | list[dict[str, str]]:
        """The prompt that is answered."""
        prompt = self.messages[:-1] if self.messages else self.prompt
        return prompt if isinstance(prompt, str) else turns(prompt or [])

    def answers(self) -> list[str]:
        return [self.messages[-1].content] if self.messages else self.responses or []


class ScoreResponse(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    scores: list[float]
    """The reward of each answer."""
    preferences: list[list[float]] | None = None
    """`[i][j]`: the calibrated probability that answer i is preferred to answer j."""
    deviations: list[float] | None = None
    """The standard deviation of each reward, less the mean reward of these answers."""


class RewardRequest(BaseModel):
    """As OpenRLHF's or slime's remote reward client sends it; further fields are ignored."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    query: list[str] | None = Field(None, min_length=1, max_length=MAX_ANSWERS)
    """OpenRLHF: whole texts, prompt and answer, as they are scored."""
    prompts: list[str] | None = None
    """The prompt of each text. Neighbouring texts with the same prompt share its computation."""
    prompt: str | list[ChatMessage] | None = None
    """slime: what the answer continues, as the policy read it, or messages."""
    response: str | None = None
    """The answer to `prompt`."""

    @model_validator(mode="after")
    def _texts_or_answer(self) -> RewardRequest:
        given = [self.query is not None, self.prompt is not None, self.response is not None]
        if given not in ([True, False, False], [False, True, True]):
            raise ValueError("either query, or prompt and response are allowed")
        if self.prompts is not None and len(self.prompts) != len(self.query or []):
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
    """Reward differences are divided by it for calibrated preferences, without a `source`."""
    temperature_from: str
    """Where the temperature comes from."""
    sources: list[str] = []
    """What `source` may be, beside "unknown". None: the model has a single head."""
    source: str | None = None
    """Whose rewards a request without `source` gets. None: everybody's."""
    uncertainty: bool = False
    """Whether it is known how sure the rewards are."""
    label: str = "LABEL_0"
    """What `/classify` calls the reward."""
    requests: dict[str, str] = REQUESTS
    """What each path takes."""
