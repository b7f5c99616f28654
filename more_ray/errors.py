"""Errors that are the user's to mend."""

from __future__ import annotations


class UserError(Exception):
    """One line: what, where, what is allowed. Jobs show it without a traceback."""
