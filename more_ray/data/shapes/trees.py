"""Trees of messages, as OpenAssistant publishes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

from more_ray.data.messages import Message
from more_ray.data.records import Pair
from more_ray.data.rejects import InvalidRecord, Reason, Reject, number, text
from more_ray.data.shapes.paths import Record
from more_ray.data.shapes.preferences import tie_or_pair

KEYS = ("message_id", "parent_id", "role", "text", "rank", "deleted", "lang")


def tree_pairs(
    messages: Iterable[tuple[str, Record]], source: str
) -> Iterator[list[Pair | Reject]]:
    """Pairs from flat messages of conversation trees, those of a prompt together.

    Every two ranked replies to the same prompter message make a pair; the lower rank is better. The
    prompt is the path from the root. Deleted and non-English messages are left out, with all
    messages below them. Messages that no root leads to are rejects.
    """
    replies: dict[str | None, list[tuple[str, Record]]] = defaultdict(list)
    for where, message in messages:
        try:
            _check_message(message)
        except InvalidRecord as invalid:
            yield [invalid.at(where)]
            continue
        replies[message["parent_id"]].append((where, message))

    # A path is None below a message that is left out.
    open_paths: list[tuple[Record, list[Message] | None]] = [
        (root, []) for _, root in replies.pop(None, [])
    ]
    while open_paths:
        message, path = open_paths.pop()
        children = replies.pop(message["message_id"], [])
        if path is None or not _is_kept(message):
            open_paths.extend((child, None) for _, child in children)
            continue
        role = "user" if message["role"] == "prompter" else "assistant"
        path = [*path, Message(role=role, content=message["text"])]
        open_paths.extend((child, path) for _, child in children)
        if role == "user":
            ranked = [
                (where, child)
                for where, child in children
                if child["role"] == "assistant" and child["rank"] is not None and _is_kept(child)
            ]
            ranked.sort(key=lambda row: row[1]["rank"])
            together = message["message_id"] if len(ranked) > 2 else None
            yield [
                _reply_pair(path, better, worse, source, where, together)
                for (where, better), (_, worse) in combinations(ranked, 2)
            ]
    for parent, orphans in replies.items():
        detail = f"no root leads to parent_id {parent}"
        yield [Reject(Reason.MISSING, where, detail) for where, _ in orphans]


def _is_kept(message: Record) -> bool:
    return not message["deleted"] and message["lang"] in ("en", None)


def _reply_pair(
    path: list[Message],
    better: Record,
    worse: Record,
    source: str,
    where: str,
    together: str | None,
) -> Pair | Reject:
    return tie_or_pair(
        prompt=path,
        chosen=better["text"],
        rejected=worse["text"],
        share=0.5 if better["rank"] == worse["rank"] else None,
        source=source,
        where=where,
        record=together,
    )


def _check_message(message: dict[str, Any]) -> None:
    for key in ("parent_id", "rank", "lang", "deleted"):  # as CSV has them
        message[key] = None if message[key] == "" else message[key]
    if isinstance(message["deleted"], str):
        message["deleted"] = message["deleted"].lower() != "false"
    for key in ("message_id", "role", "text"):
        text(message[key], key)
    if message["parent_id"] is not None:
        text(message["parent_id"], "parent_id")
    if message["rank"] is not None:
        message["rank"] = number(message["rank"], "rank")
    if message["role"] not in ("prompter", "assistant"):
        raise InvalidRecord(Reason.WRONG_TYPE, "role must be prompter or assistant")
