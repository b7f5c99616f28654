"""Errors that the user can fix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

RAY_DATA_ADVICE = "\nFailed to apply UDF"
"""With this line begins what Ray Data says of its retries behind the message of an error."""


class UserError(Exception):
    """A mistake in one line: what, where, what is allowed. Jobs show it without a traceback."""


class DataError(UserError):
    """Data that cannot be used."""


class ModelError(UserError):
    """A model that cannot be loaded, or not for this purpose."""


@contextmanager
def model_of_section(key: str) -> Iterator[None]:
    """Call the model `key` in a ModelError of the `with` block, which calls every model `model`."""
    try:
        yield
    except ModelError as error:
        raise ModelError(re.sub(r"^model(?=\.)", key, str(error))) from error


def as_raised(error: Any) -> UserError:
    """Ray's error of a task as the task raised it: without the traceback that Ray puts before the
    message, and the advice that Ray Data puts behind."""
    return type(error.cause)(str(error.cause).partition(RAY_DATA_ADVICE)[0])


def last_line(error: BaseException) -> str:
    """The message of an error, from the report that Ray makes around it."""
    report = str(error).partition(RAY_DATA_ADVICE)[0]
    lines = [line.strip() for line in report.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
