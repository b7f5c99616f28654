"""Messages from the dialogues of data sets: a transcript, a list, or JSON text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, Literal, TypedDict, get_args

from more_ray.data.rejects import InvalidRecord, Reason, text, wrong_type

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)

_TURN = re.compile(r"(?:\A\s*|\n\n)(?:## )?(Human|Assistant):")
_TURN_BY_LINE = re.compile(r"(?:\A\s*|\n)(?:## )?(Human|Assistant):")
_SYSTEM = re.compile(r"\A\s*(?:## )?System:")
_TURN_ROLE: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_SHAREGPT_ROLE = {"human": "user", "gpt": "assistant"}


class Message(TypedDict):
    """One turn of a dialogue."""

    role: Role
    content: str


def to_prompt(value: Any, before: tuple[Message, ...] = ()) -> tuple[Message, ...]:
    """The messages of a prompt without an answer; raises `InvalidRecord`."""
    return prompt_after(before, _dialogue(value, "prompt"))


def split(prompt: Any, chosen: Any, rejected: Any) -> tuple[tuple[Message, ...], str, str]:
    """The prompt's messages and the two answers, each answer "" where there is none.

    Raises:
        InvalidRecord: a value is not a dialogue, or the answers are not to the same prompt.
    """
    if prompt is None:
        context, better = _cut(_dialogue(chosen, "chosen"))
        rejected_context, worse = _cut(_dialogue(rejected, "rejected"))
        if better and worse and context != rejected_context:
            raise InvalidRecord(
                Reason.PROMPTS_DIFFER, "chosen and rejected differ before the answer"
            )
        return context, better, worse
    context = _dialogue(prompt, "prompt")
    worse = "" if rejected is None else _answer(rejected, "rejected", context)
    return context, _answer(chosen, "chosen", context), worse


def turns_before(record: dict[str, Any]) -> tuple[Message, ...]:
    """Messages before the prompt, from columns `system` and `history`; raises `InvalidRecord`.

    `history` is a transcript, a list of messages, or a list of [question, answer] pairs.
    """
    system, history = record.get("system"), _content(record.get("history"))
    if _content(record.get("tools")):
        raise InvalidRecord(Reason.TOOLS, "allowed: a record without tools")
    before: tuple[Message, ...] = ()
    if system:
        before = _merge([("system", text(system, "system"))])
    if history:
        before += _history(history)
    return before


def parse_transcript(text: str) -> tuple[Message, ...]:
    """Split "Human: ...\\n\\nAssistant: ..." into messages with stripped contents.

    A turn starts with a mark at the start of the text or after a blank line, optionally written
    "## Human:". Where these turns do not alternate, or there is only one, marks at the start of any
    line count if those alternate. Text before the first mark belongs to the user (after
    "System:" to the system), so a text without marks is one user message. Empty turns, such as an
    open "Assistant:" at the end, are dropped; neighbours with the same role are merged.
    """
    text = text.replace("\r\n", "\n")
    before, *turns = _TURN.split(text)
    found_one = len(turns) == 2 or (not turns and _SYSTEM.match(text))
    if found_one or not _alternate(turns[::2]):
        first, *by_line = _TURN_BY_LINE.split(text)
        if len(by_line) > len(turns) and _alternate(by_line[::2]):
            before, turns = first, by_line
    opening: Role = "user"
    if turns and _SYSTEM.match(before):
        opening, before = "system", _SYSTEM.sub("", before)
    roles = (_TURN_ROLE[mark] for mark in turns[::2])
    return _merge([(opening, before), *zip(roles, turns[1::2], strict=True)])


def _alternate(marks: Sequence[str]) -> bool:
    return all(mark != following for mark, following in pairwise(marks))


def prompt_after(before: tuple[Message, ...], context: tuple[Message, ...]) -> tuple[Message, ...]:
    """`context` with `before` in front, unless it begins with that already.

    Raises:
        InvalidRecord: it is not a prompt, since it does not end with a user turn.
    """
    if before != context[: len(before)]:
        context = _merge((turn["role"], turn["content"]) for turn in (*before, *context))
    if not context:
        raise InvalidRecord(Reason.EMPTY, "prompt has no turn")
    if context[-1]["role"] != "user":
        raise InvalidRecord(Reason.NO_USER_TURN, f"it ends with {context[-1]['role']}")
    return context


def _dialogue(value: Any, name: str) -> tuple[Message, ...]:
    value = _parsed(value)
    return parse_transcript(text(value, name)) if isinstance(value, str) else _messages(value, name)


def _messages(value: Any, name: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise wrong_type(name, "text or a list of messages", value)
    turns = []
    for message in value:
        if not isinstance(message, dict):
            raise wrong_type(f"a message of {name}", "an object", message)
        role, content = message.get("role"), message.get("content")
        if "from" in message:  # as ShareGPT writes it
            role, content = message["from"], message.get("value")
            role = _SHAREGPT_ROLE.get(role, role) if isinstance(role, str) else role
        if role not in ROLES:
            raise InvalidRecord(Reason.WRONG_TYPE, f"{name}: role must be one of {ROLES}")
        turns.append((role, text(content, f"{name}: content")))
    return _merge(turns)


def _answer(value: Any, name: str, context: tuple[Message, ...]) -> str:
    value = _parsed(value)
    if isinstance(value, str):
        return text(value, name).strip()
    repeated, answer = _cut(_messages(value, name))
    if repeated and repeated != context:
        raise InvalidRecord(Reason.PROMPTS_DIFFER, f"{name} does not continue prompt")
    return answer


def _cut(dialogue: tuple[Message, ...]) -> tuple[tuple[Message, ...], str]:
    """Split off a final assistant turn: the messages before it, and its text or ""."""
    if not dialogue or dialogue[-1]["role"] != "assistant":
        return dialogue, ""
    return dialogue[:-1], dialogue[-1]["content"]


def _parsed(value: Any) -> Any:
    """Messages from a text that holds them; any other value unchanged."""
    content = _content(value)
    messages = [content] if isinstance(content, dict) else content
    is_dialogue = isinstance(messages, list) and messages and all(map(_is_turn, messages))
    return messages if is_dialogue else value


def _history(value: Any) -> tuple[Message, ...]:
    if isinstance(value, list) and all(isinstance(turn, list) and len(turn) == 2 for turn in value):
        return _merge(
            (role, text(content, "history"))
            for turn in value
            for role, content in zip(("user", "assistant"), turn, strict=True)
        )
    return _dialogue(value, "history")


def _content(value: Any) -> Any:
    """The value of a text that is JSON or a Python literal; any other value unchanged."""
    if value in ("null", "None"):
        return None
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        for read in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                return read(value.strip())
    return value


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and (
        value.keys() >= {"role", "content"} or value.keys() >= {"from", "value"}
    )


def _merge(turns: Iterable[tuple[Role, str]]) -> tuple[Message, ...]:
    """Messages from (role, content): empty ones dropped, neighbours with the same role joined."""
    merged: list[Message] = []
    for role, content in turns:
        content = content.strip()
        if not content:
            continue
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += f"\n\n{content}"
        else:
            merged.append(Message(role=role, content=content))
    return tuple(merged)
