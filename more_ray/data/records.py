"""The preference record, and the reasons for which a raw record is rejected."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any, Literal, TypedDict

ROLES = ("system", "user", "assistant")

_TURN = re.compile(r"(?:\A\s*|\n\n)(?:## )?(Human|Assistant):")
_TURN_BY_LINE = re.compile(r"(?:\A\s*|\n)(?:## )?(Human|Assistant):")
_SYSTEM = re.compile(r"\A\s*(?:## )?System:")
_TURN_ROLE = {"Human": "user", "Assistant": "assistant"}
_SHAREGPT_ROLE = {"human": "user", "gpt": "assistant"}


class Message(TypedDict):
    """One turn of a dialogue."""

    role: Literal["system", "user", "assistant"]
    content: str


class Reason(str, Enum):
    """Why a raw record is not a preference pair."""

    TIE = "tie"
    IDENTICAL = "chosen equals rejected"
    CONTRADICTION = "chosen is scored lower"
    EMPTY = "empty field"
    NO_PROMPT = "a text that answers no prompt"
    TOOLS = "tools, which are not read"
    MISSING = "missing column"
    WRONG_TYPE = "wrong type"
    PROMPTS_DIFFER = "prompts differ"
    NO_USER_TURN = "prompt does not end with a user turn"
    INVALID_UTF8 = "invalid utf-8"
    CORRUPT_LINE = "corrupt line"
    CORRUPT_FILE = "corrupt file"
    TEMPLATE = "chat template refuses the roles"
    TEMPLATE_ALIKE = "chat template writes both answers alike"
    TRUNCATED = "identical after truncation"
    TOO_LONG = "too many tokens"


@dataclass(frozen=True, slots=True)
class Pair:
    """One human preference, or a single answer: then `rejected` is empty.

    `prompt` ends with a user turn; `chosen` and `rejected` are the text of the assistant turn that
    follows it, stripped. `margin` is how strongly the annotator preferred `chosen`. `probability`
    is the true probability that `chosen` is preferred, known for simulated data only. `subset` is
    the part of a test set that the pair belongs to.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str
    margin: float | None = None
    probability: float | None = None
    subset: str | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """A raw record that is left out: `where` is "file:line", "file row 12" or the file."""

    reason: Reason
    where: str
    detail: str


class InvalidRecord(Exception):
    """A raw record cannot become a `Pair`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[InvalidRecord], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)

    def at(self, where: str) -> Reject:
        """The same as a value, for a record found at `where`."""
        return Reject(self.reason, where, self.detail)


def parse_transcript(text: str) -> tuple[Message, ...]:
    """Split "Human: ...\\n\\nAssistant: ..." into messages with stripped contents.

    A turn starts with a mark at the start of the text or after a blank line, optionally written
    "## Human:". Where turns so found do not alternate, or there is one only, marks at the start of
    any line count if they alternate. Text before the first mark belongs to the user (after
    "System:" to the system), so a text without marks is one user message. Empty turns, the open
    "Assistant:" at the end among them, are dropped; neighbours of one role are merged.
    """
    text = text.replace("\r\n", "\n")
    before, *turns = _TURN.split(text)
    found_one = len(turns) == 2 or (not turns and _SYSTEM.match(text))
    if found_one or not _alternate(turns[::2]):
        first, *by_line = _TURN_BY_LINE.split(text)
        if len(by_line) > len(turns) and _alternate(by_line[::2]):
            before, turns = first, by_line
    opening = "user"
    if turns and _SYSTEM.match(before):
        opening, before = "system", _SYSTEM.sub("", before)
    roles = (_TURN_ROLE[mark] for mark in turns[::2])
    return _merge([(opening, before), *zip(roles, turns[1::2], strict=True)])


def _alternate(marks: Sequence[str]) -> bool:
    return all(one != other for one, other in pairwise(marks))


def check(
    *,
    prompt: Any,
    chosen: Any,
    rejected: Any,
    source: str,
    where: str,
    margin: Any = None,
    probability: Any = None,
    subset: Any = None,
    before: tuple[Message, ...] = (),
) -> Pair | Reject:
    """Turn the raw values of one record into a `Pair`, or say why it is none.

    `prompt` is a transcript, a list of messages, or None: then `chosen` and `rejected` are whole
    dialogues that differ in their last assistant turn only. With a prompt, an answer is a text, or
    a list of messages that may repeat the prompt. With a prompt, `rejected` may be None: there is
    one answer only. `before` are turns that come before the prompt. Messages may be given as JSON
    text.
    """
    try:
        context, better, worse = _split(prompt, chosen, rejected)
        if not better or not (worse or rejected is None):
            empty = "rejected" if better else "chosen"
            if prompt is None and len(context) == 1 and context[0]["role"] == "user":
                raise InvalidRecord(
                    Reason.NO_PROMPT, f"{empty} is one text, and there is no column prompt"
                )
            raise InvalidRecord(Reason.EMPTY, f"{empty} has no answer")
        context = _continued(before, context)
        if better == worse:
            raise InvalidRecord(Reason.IDENTICAL, f"{len(better)} characters")
        _check_context(context)
        return Pair(
            context,
            better,
            worse,
            source,
            None if margin is None else number(margin, "margin"),
            None if probability is None else _probability(probability),
            None if subset is None else _name(subset, "subset"),
        )
    except InvalidRecord as invalid:
        return invalid.at(where)


def check_prompt(value: Any, before: tuple[Message, ...] = ()) -> tuple[Message, ...]:
    """The messages of a prompt without answers; raises `InvalidRecord`."""
    prompt = _continued(before, _dialogue(value, "prompt"))
    _check_context(prompt)
    return prompt


def turns_before(record: dict[str, Any]) -> tuple[Message, ...]:
    """What the columns `system` and `history` say before the prompt; raises `InvalidRecord`.

    `history` is a transcript, a list of messages, or a list of [question, answer].
    """
    system, history = record.get("system"), _content(record.get("history"))
    if _content(record.get("tools")):
        raise InvalidRecord(Reason.TOOLS, "a record without tools is allowed")
    before: tuple[Message, ...] = ()
    if system:
        before = _merge([("system", text(system, "system"))])
    if history:
        before += _history(history)
    return before


def text(value: Any, name: str) -> str:
    """`value` if it is a string that UTF-8 can encode; raises `InvalidRecord`."""
    if not isinstance(value, str):
        raise _wrong_type(name, "text", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRecord(Reason.INVALID_UTF8, f"{name}, character {error.start}") from None
    return value


def number(value: Any, name: str) -> float:
    """`value` as a float if it is a finite number; raises `InvalidRecord`."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong_type(name, "a number", value)
    if not abs(value) <= sys.float_info.max:
        raise InvalidRecord(Reason.WRONG_TYPE, f"{name} must be finite")
    return float(value)


def _name(value: Any, name: str) -> str:
    """A text, or a whole number as one."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else text(value, name)


def items(value: Any, name: str) -> list[Any]:
    """`value` if it is a list; raises `InvalidRecord`."""
    if not isinstance(value, list):
        raise _wrong_type(name, "a list", value)
    return value


def _split(prompt: Any, chosen: Any, rejected: Any) -> tuple[tuple[Message, ...], str, str]:
    """The prompt's messages and the two answers, each answer "" where there is none."""
    if prompt is None:
        context, better = _cut(_dialogue(chosen, "chosen"))
        other, worse = _cut(_dialogue(rejected, "rejected"))
        if better and worse and context != other:
            raise InvalidRecord(Reason.PROMPTS_DIFFER, "chosen and rejected part before the answer")
        return context, better, worse
    context = _dialogue(prompt, "prompt")
    worse = "" if rejected is None else _answer(rejected, "rejected", context)
    return context, _answer(chosen, "chosen", context), worse


def _history(value: Any) -> tuple[Message, ...]:
    if isinstance(value, list) and all(isinstance(one, list) and len(one) == 2 for one in value):
        return _merge(
            (role, text(content, "history"))
            for turn in value
            for role, content in zip(("user", "assistant"), turn, strict=True)
        )
    return _dialogue(value, "history")


def _continued(before: tuple[Message, ...], context: tuple[Message, ...]) -> tuple[Message, ...]:
    """`context` after what comes before it, unless it begins with that itself."""
    if before == context[: len(before)]:
        return context
    return _merge((turn["role"], turn["content"]) for turn in (*before, *context))


def _check_context(context: tuple[Message, ...]) -> None:
    if not context:
        raise InvalidRecord(Reason.EMPTY, "prompt has no turn")
    if context[-1]["role"] != "user":
        raise InvalidRecord(Reason.NO_USER_TURN, f"it ends with {context[-1]['role']}")


def _answer(value: Any, name: str, context: tuple[Message, ...]) -> str:
    value = _parsed(value)
    if isinstance(value, str):
        return text(value, name).strip()
    repeated, answer = _cut(_messages(value, name))
    if repeated and repeated != context:
        raise InvalidRecord(Reason.PROMPTS_DIFFER, f"{name} does not continue prompt")
    return answer


def _cut(dialogue: tuple[Message, ...]) -> tuple[tuple[Message, ...], str]:
    """What comes before the last assistant turn, and that turn's text."""
    if not dialogue or dialogue[-1]["role"] != "assistant":
        return dialogue, ""
    return dialogue[:-1], dialogue[-1]["content"]


def _parsed(value: Any) -> Any:
    """Messages out of a text that holds them; any other value as it is."""
    content = _content(value)
    messages = [content] if isinstance(content, dict) else content
    is_dialogue = isinstance(messages, list) and messages and all(map(_is_turn, messages))
    return messages if is_dialogue else value


def _content(value: Any) -> Any:
    """What a text holds as JSON, or as Python writes it; any other value as it is."""
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


def _dialogue(value: Any, name: str) -> tuple[Message, ...]:
    value = _parsed(value)
    return parse_transcript(text(value, name)) if isinstance(value, str) else _messages(value, name)


def _messages(value: Any, name: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise _wrong_type(name, "text or a list of messages", value)
    turns = []
    for message in value:
        if not isinstance(message, dict):
            raise _wrong_type(f"a message of {name}", "an object", message)
        role, content = message.get("role"), message.get("content")
        if "from" in message:  # as ShareGPT writes it
            role, content = message["from"], message.get("value")
            role = _SHAREGPT_ROLE.get(role, role) if isinstance(role, str) else role
        if role not in ROLES:
            raise InvalidRecord(Reason.WRONG_TYPE, f"{name}: role must be one of {ROLES}")
        turns.append((role, text(content, f"{name}: content")))
    return _merge(turns)


def _merge(turns: Iterable[tuple[str, str]]) -> tuple[Message, ...]:
    """Messages from (role, content): empty ones dropped, neighbours of one role joined."""
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


def _probability(value: Any) -> float:
    probability = number(value, "probability")
    if not 0 <= probability <= 1:
        raise InvalidRecord(Reason.WRONG_TYPE, "probability must lie in [0, 1]")
    return probability


def _wrong_type(name: str, allowed: str, value: Any) -> InvalidRecord:
    return InvalidRecord(Reason.WRONG_TYPE, f"{name} must be {allowed}, got {type(value).__name__}")
