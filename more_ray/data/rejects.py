"""Reasons to reject a raw record, and checks of its values that raise them."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Reason(str, Enum):
    """Why a raw record is not a preference pair."""

    TIE = "tie"
    IDENTICAL = "chosen equals rejected"
    CONTRADICTION = "chosen is scored lower"
    EMPTY = "empty field"
    NO_PROMPT = "a text that answers no prompt"
    TOOLS = "tools, which are not read"
    PARTS = "content that is not text"
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
        """This error as a `Reject`, for a record found at `where`."""
        return Reject(self.reason, where, self.detail)


def text(value: Any, name: str) -> str:
    """`value` if it is a string that UTF-8 can encode; raises `InvalidRecord`."""
    if not isinstance(value, str):
        raise wrong_type(name, "text", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRecord(Reason.INVALID_UTF8, f"{name}, character {error.start}") from None
    return value


def number(value: Any, name: str) -> float:
    """`value`, a finite number or the text of one, as a float; raises `InvalidRecord`."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise wrong_type(name, "a number", value)
    if not abs(value) <= sys.float_info.max:
        raise InvalidRecord(Reason.WRONG_TYPE, f"{name} must be finite")
    return float(value)


def name_of(value: Any, name: str) -> str:
    """`value` if it is a text, or an integer as text; raises `InvalidRecord`."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else text(value, name)


def items(value: Any, name: str) -> list[Any]:
    """`value` if it is a list; raises `InvalidRecord`."""
    if not isinstance(value, list):
        raise wrong_type(name, "a list", value)
    return value


def wrong_type(name: str, allowed: str, value: Any) -> InvalidRecord:
    return InvalidRecord(Reason.WRONG_TYPE, f"{name} must be {allowed}, got {type(value).__name__}")
