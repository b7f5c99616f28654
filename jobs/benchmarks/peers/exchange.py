"""What `peers.py` and the script of a tool hand each other: two JSON files."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def question() -> dict[str, Any]:
    """What to score.

    model: the folder; pairs: lists of messages; texts: what the chat template writes for them, the
    chosen one and then the rejected one of each pair; prompts: the beginning of each text; url: of
    our reward service.
    """
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def answer(package: str, **scores: list[float]) -> None:
    """Hand back the tool's version and a score of each text, by the way they were asked for."""
    content = {"version": f"{package} {version(package)}", "scores": scores}
    Path(sys.argv[2]).write_text(json.dumps(content), encoding="utf-8")
