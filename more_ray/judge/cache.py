"""The judge's answers on disk, so that no request is sent or paid for twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """The answer of an endpoint, and the tokens that it took."""

    text: str
    input_tokens: int
    output_tokens: int


def request_key(base_url: str, request: dict[str, Any]) -> str:
    """The key of a request: a hash of everything that its answer depends on."""
    return hashlib.sha256(json.dumps([base_url, request], sort_keys=True).encode()).hexdigest()


class AnswerCache:
    """Answers by the key of their request, in one SQLite file that several jobs may share.

    Every answer is committed when it arrives, so a killed job loses none.
    """

    def __init__(self, folder: str) -> None:
        path = Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(
            path / "answers.sqlite",
            timeout=60,
            isolation_level=None,
            check_same_thread=False,  # in a notebook another thread asks, and this one waits
        )
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT, "
            "input_tokens INTEGER, output_tokens INTEGER)"
        )

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._database.close()

    def get(self, key: str) -> Answer | None:
        row = self._database.execute(
            "SELECT text, input_tokens, output_tokens FROM answers WHERE key = ?", (key,)
        ).fetchone()
        return Answer(*row) if row else None

    def put(self, key: str, answer: Answer) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (key, *astuple(answer))
        )
