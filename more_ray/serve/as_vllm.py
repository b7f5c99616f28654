"""`/classify` and `/pooling` as vLLM 0.32 answers them for a classifier with one label.

A text is taken as it is, with the special tokens that the tokenizer adds: a rendered conversation
gets the reward that `/score` gives its prompt and answer. Nothing is cut unless the request says
so. What vLLM knows and cannot be had here is refused where it would change the result.
"""

from __future__ import annotations

import base64
import struct
import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from more_ray.data.formatting import NO_LIMIT, encode
from more_ray.data.rejects import text
from more_ray.errors import UserError
from more_ray.metrics.calibration import sigmoid
from more_ray.model.scorer import Scorer
from more_ray.serve.schemas import MAX_ANSWERS, ChatMessage, Info, check_answered, turns

Item = TypeVar("Item")
Items = Annotated[list[Item], Field(fail_fast=True)]
"""A list with one mistake at most: each item would be one of every type that `input` may have."""


class ClassifyRequest(BaseModel):
    """Texts, token ids, or a conversation. Further fields are ignored, `model` too: the response
    names the model that answers."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    input: str | Items[str] | Items[int] | Items[Items[int]] | None = None
    """A text, texts, the token ids of a text, or those of several."""
    messages: list[ChatMessage] | None = None
    """Instead: a conversation that ends with the assistant's turn."""
    use_activation: bool | None = None
    """false: the reward. Otherwise its sigmoid."""
    add_special_tokens: bool | None = None
    """Add what the tokenizer adds to a text. Unset: to `input`, not to `messages`."""
    truncate_prompt_tokens: int | None = Field(None, ge=-1)
    """Keep this many tokens; -1: as many as the model takes. Unset: longer texts are refused."""
    truncation_side: Literal["left", "right"] | None = None
    """Where tokens are left out. Unset: where the tokenizer says."""
    request_id: str | None = None
    """Part of the response's `id`."""
    add_generation_prompt: Literal[False] = False
    continue_final_message: Literal[False] = False
    chat_template: None = None

    @model_validator(mode="after")
    def _input_or_messages(self) -> ClassifyRequest:
        if (self.input is None) == (self.messages is None):
            raise ValueError("either input or messages are allowed")
        if self.messages is not None:
            check_answered(self.messages)
        if self.input == []:
            raise ValueError("input: one text or more is allowed")
        if len(self.texts()) > MAX_ANSWERS:
            raise ValueError(f"input: at most {MAX_ANSWERS} texts are allowed")
        return self

    def texts(self) -> list[str | list[int]]:
        """Of `input`, each as text or token ids."""
        given = [self.input] if isinstance(self.input, str) else self.input or []
        of_one = [one for one in given if isinstance(one, int)]
        return [of_one] if of_one else [one for one in given if not isinstance(one, int)]


class PoolingRequest(ClassifyRequest):
    task: Literal["classify"] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    """base64: of float32 numbers, little endian."""
    embed_dtype: Literal["float32"] = "float32"
    endianness: Literal["native", "little"] = "native"
    dimensions: None = None


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: None = None
    completion_tokens_details: None = None


class Classified(BaseModel):
    index: int
    label: str
    probs: list[float]
    num_classes: int = 1


class Pooled(BaseModel):
    index: int
    object: Literal["pooling"] = "pooling"
    data: list[float] | str


class _Response(BaseModel):
    id: str
    object: Literal["list"] = "list"
    created: int
    model: str


class ClassifyResponse(_Response):
    data: list[Classified]
    usage: Usage


class PoolingResponse(_Response):
    data: list[Pooled]
    usage: Usage


def tokens_of(request: ClassifyRequest, scorer: Scorer) -> list[list[int]]:
    """The token ids of each text.

    Raises:
        InvalidRecord: messages that the chat template refuses.
        UserError: a text is empty or too long, or has tokens that the model does not know.
    """
    special_tokens = request.add_special_tokens
    if request.messages is not None:
        *prompt, answer = turns(request.messages)
        texts = scorer.rendered(prompt, [answer["content"]])
        rows = encode(scorer.tokenizer, texts, NO_LIMIT, special_tokens is True)
    elif texts := [one for one in request.texts() if isinstance(one, str)]:
        checked = [text(one, "input") for one in texts]
        rows = encode(scorer.tokenizer, checked, NO_LIMIT, special_tokens is not False)
    else:
        rows = [one for one in request.texts() if isinstance(one, list)]
        _check_known(rows, scorer.classifier.get_input_embeddings().num_embeddings)
    return [_fitting(f"input {index}", row, request, scorer) for index, row in enumerate(rows)]


def _check_known(rows: list[list[int]], vocabulary: int) -> None:
    for index, tokens in enumerate(rows):
        for token in tokens:
            if not 0 <= token < vocabulary:
                allowed = f"allowed: 0 to {vocabulary - 1}"
                raise UserError(f"input {index}: token {token} given; {allowed}")


def _fitting(name: str, tokens: list[int], request: ClassifyRequest, scorer: Scorer) -> list[int]:
    """The tokens of a text that are scored."""
    kept, most = request.truncate_prompt_tokens, scorer.max_length
    if kept is not None:
        if kept > most:
            raise UserError(f"truncate_prompt_tokens: {kept} given; allowed: -1 to {most}")
        kept = most if kept == -1 else kept
        side = request.truncation_side or scorer.tokenizer.truncation_side
        tokens = tokens[max(0, len(tokens) - kept) :] if side == "left" else tokens[:kept]
    if not tokens:
        raise UserError(f"{name}: no tokens; allowed: one or more")
    if len(tokens) > most:
        raise UserError(
            f"{name}: {len(tokens)} tokens; allowed: {most}, or more with truncate_prompt_tokens"
        )
    return tokens


def classified(
    request: ClassifyRequest, rewards: Sequence[float], tokens: int, info: Info
) -> dict[str, Any]:
    """The fields of a `ClassifyResponse`."""
    data = [
        {"index": index, "label": info.label, "probs": [value], "num_classes": 1}
        for index, value in enumerate(_activated(request, rewards))
    ]
    return _answer("classify", request, data, tokens, info)


def pooled(
    request: PoolingRequest, rewards: Sequence[float], tokens: int, info: Info
) -> dict[str, Any]:
    """The fields of a `PoolingResponse`."""
    in_base64 = request.encoding_format == "base64"
    data = [
        {"index": index, "object": "pooling", "data": _in_base64(value) if in_base64 else [value]}
        for index, value in enumerate(_activated(request, rewards))
    ]
    return _answer("pooling", request, data, tokens, info)


def _activated(request: ClassifyRequest, rewards: Sequence[float]) -> list[float]:
    raw = request.use_activation is False
    return [reward if raw else float(sigmoid(reward)) for reward in rewards]


def _in_base64(value: float) -> str:
    return base64.b64encode(struct.pack("<f", value)).decode()


def _answer(
    kind: str, request: ClassifyRequest, data: list[dict[str, Any]], tokens: int, info: Info
) -> dict[str, Any]:
    return {
        "id": f"{kind}-{request.request_id or uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": info.model,
        "data": data,
        "usage": Usage(prompt_tokens=tokens, total_tokens=tokens).model_dump(),
    }
