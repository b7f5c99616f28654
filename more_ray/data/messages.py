"""Messages from the dialogues of data sets: a transcript, a list, or JSON text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, Literal, TypedDict, get_args

from typing_extensions import NotRequired

from more_ray.data.rejects import InvalidRecord, Reason, items, text, wrong_type

Role = Literal["system", "user", "assistant", "tool", "function"]
ROLES: tuple[Role, ...] = get_args(Role)

_TURN = re.compile(r"(?:\A\s*|\n\n)(?:## )?(Human|Assistant):")
_TURN_BY_LINE = re.compile(r"(?:\A\s*|\n)(?:## )?(Human|Assistant):")
_SYSTEM = re.compile(r"\A\s*(?:## )?System:")
_TURN_ROLE: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_SHAREGPT_ROLE = {
    "human": "user",
    "gpt": "assistant",
    "function_call": "assistant",
    "observation": "tool",
}
_SPOKEN: tuple[Role, Role] = ("user", "assistant")
_OF_TOOLS = ("tool", "function")
LONGEST_LITERAL = 200_000
"""Characters of a Python literal, which takes 500 times its size to read; JSON may be longer."""


class Message(TypedDict):
    """One turn of a dialogue."""

    role: Role
    content: str
    tool_calls: NotRequired[list[Any]]
    """What an assistant turn asks of tools, as the data has it; for the chat template."""
    tool_call_id: NotRequired[str]
    """Which call a turn of a tool answers."""
    name: NotRequired[str]
    """Which tool or function a turn is of."""


def to_prompt(
    value: Any, before: tuple[Message, ...] = (), tools: bool = False
) -> tuple[Message, ...]:
    """The messages of a prompt without an answer, with turns of tools only where `tools` says so.

    Raises:
        InvalidRecord: it is not a prompt.
    """
    prompt = prompt_after(before, dialogue(value, "prompt"))
    if not tools and not all(map(is_plain, prompt)):
        raise InvalidRecord(Reason.TOOLS, "allowed: turns of system, user and assistant")
    return prompt


def turns_before(record: dict[str, Any]) -> tuple[Message, ...]:
    """Messages before the prompt, from columns `system` and `history`; raises `InvalidRecord`.

    `history` is a transcript, a list of messages, or a list of [question, answer] pairs.
    """
    system, history = record.get("system"), from_json(record.get("history"))
    if from_json(record.get("tools")):
        raise InvalidRecord(Reason.TOOLS, "allowed: a record without tools")
    before: tuple[Message, ...] = ()
    if system:
        before = _merge([Message(role="system", content=text(system, "system"))])
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
    marked = zip(turns[::2], turns[1::2], strict=True)
    spoken = (Message(role=_TURN_ROLE[mark], content=content) for mark, content in marked)
    return _merge([Message(role=opening, content=before), *spoken])


def _alternate(marks: Sequence[str]) -> bool:
    return all(mark != following for mark, following in pairwise(marks))


def prompt_after(before: tuple[Message, ...], context: tuple[Message, ...]) -> tuple[Message, ...]:
    """`context` with `before` in front, unless it begins with that already.

    Raises:
        InvalidRecord: it is not a prompt, since it does not end with a turn of a user or a tool.
    """
    if before != context[: len(before)]:
        context = _merge((*before, *context))
    if not context:
        raise InvalidRecord(Reason.EMPTY, "prompt has no turn")
    if context[-1]["role"] not in ("user", *_OF_TOOLS):
        raise InvalidRecord(Reason.NO_USER_TURN, f"it ends with {context[-1]['role']}")
    return context


def dialogue(value: Any, name: str) -> tuple[Message, ...]:
    """The turns of a transcript, a list of messages, or JSON text; raises `InvalidRecord`."""
    value = parsed(value)
    return parse_transcript(text(value, name)) if isinstance(value, str) else messages(value, name)


def messages(value: Any, name: str) -> tuple[Message, ...]:
    """The turns of a list of messages; raises `InvalidRecord`."""
    if not isinstance(value, list):
        raise wrong_type(name, "text or a list of messages", value)
    turns = []
    for message in value:
        if not isinstance(message, dict):
            raise wrong_type(f"a message of {name}", "an object", message)
        role, content = message.get("role"), message.get("content")
        if "from" in message:  # as ShareGPT writes it
            role, content = message["from"], message.get("value")
            if role == "function_call":
                message, content = {role: from_json(content)}, None
            role = _SHAREGPT_ROLE.get(role, role) if isinstance(role, str) else role
        if role not in ROLES:
            raise InvalidRecord(Reason.WRONG_TYPE, f"{name}: role must be one of {ROLES}")
        turns.append(_turn(role, content, message, name))
    return _merge(turns)


def _turn(role: Role, content: Any, message: dict[str, Any], name: str) -> Message:
    calls = message.get("tool_calls") if role == "assistant" else None
    if role == "assistant" and message.get("function_call"):  # as it was called before
        called = message["function_call"]
        functions = called if isinstance(called, list) else [called]
        if not all(isinstance(function, dict) for function in functions):
            raise wrong_type(f"{name}: function_call", "an object", called)
        calls = [{"type": "function", "function": function} for function in functions]
    if content is None and calls:
        content = ""
    turn = Message(role=role, content=_joined(content, f"{name}: content"))
    if calls:
        turn["tool_calls"] = _plain_json(items(calls, f"{name}: tool_calls"), name)
    if role in _OF_TOOLS:
        for key in ("tool_call_id", "name"):
            if message.get(key):
                turn[key] = text(message[key], f"{name}: {key}")
    return turn


def _joined(content: Any, name: str) -> str:
    """A turn's text; text parts in a list follow each other, as chat templates write them."""
    if not isinstance(content, list):
        return text(content, name)
    joined = ""
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind != "text":
            raise InvalidRecord(Reason.PARTS, f"{name}: {kind!r}; allowed: parts of type text")
        joined += text(part.get("text"), f"{name}: text")
    return joined


def _plain_json(value: Any, name: str) -> Any:
    """`value` if JSON in UTF-8 can write it; raises `InvalidRecord`."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRecord(Reason.WRONG_TYPE, f"{name}: tool_calls must be JSON") from error
    return value


def parsed(value: Any) -> Any:
    """Messages from a text that holds them; any other value unchanged."""
    content = from_json(value)
    turns = [content] if isinstance(content, dict) else content
    is_dialogue = isinstance(turns, list) and turns and all(map(_is_turn, turns))
    return turns if is_dialogue else value


def _history(value: Any) -> tuple[Message, ...]:
    if isinstance(value, list) and all(isinstance(turn, list) and len(turn) == 2 for turn in value):
        return _merge(
            Message(role=role, content=text(content, "history"))
            for turn in value
            for role, content in zip(_SPOKEN, turn, strict=True)
        )
    return dialogue(value, "history")


def from_json(value: Any) -> Any:
    """The value of a text that is JSON or a Python literal; any other value unchanged."""
    if value in ("null", "None"):
        return None
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        readers = (json.loads, ast.literal_eval) if len(value) <= LONGEST_LITERAL else (json.loads,)
        for read in readers:
            with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                return read(value.strip())
    return value


def _is_turn(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    says = value.keys() & {"content", "tool_calls", "function_call"}
    return ("role" in value and bool(says)) or value.keys() >= {"from", "value"}


def is_plain(turn: Message) -> bool:
    """Whether it is a turn that people have without tools."""
    return turn["role"] not in _OF_TOOLS and "tool_calls" not in turn


def _merge(turns: Iterable[Message]) -> tuple[Message, ...]:
    """Stripped turns: empty ones dropped, neighbours with the same role joined.

    Turns of tools, and those that call them, stay as they are.
    """
    merged: list[Message] = []
    parts: list[list[str]] = []
    for turn in turns:
        plain, content = is_plain(turn), turn["content"].strip()
        if plain and not content:
            continue
        last = merged[-1] if merged else None
        if plain and last and last["role"] == turn["role"] and is_plain(last):
            parts[-1].append(content)
        else:
            merged.append(Message(**turn))
            parts.append([content])
    for turn, contents in zip(merged, parts, strict=True):
        turn["content"] = "\n\n".join(contents)
    return tuple(merged)
