"""Errors that are the user's to mend."""

from __future__ import annotations


class UserError(Exception):
    """One line: what, where, what is allowed. Jobs show it without a traceback."""


class DataError(UserError):
    """Data that cannot be used."""


class ModelError(UserError):
    """A model that cannot be loaded, or not for this."""


def last_line(error: BaseException) -> str:
    """What an error says, out of the report that Ray makes around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
