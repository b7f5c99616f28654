"""Errors that the user can fix."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in one line: what, where, what is allowed. Jobs show it without a traceback."""


class DataError(UserError):
    """Data that cannot be used."""


class ModelError(UserError):
    """A model that cannot be loaded, or not for this purpose."""


def last_line(error: BaseException) -> str:
    """The message of an error, from the report that Ray makes around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
