"""The shapes in which preference data is published: raw records -> pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from more_ray.data.messages import Message, turns_before
from more_ray.data.records import Pair, to_pair
from more_ray.data.rejects import InvalidRecord, Reason, Reject, items, number, text
from more_ray.errors import DataError

Record = dict[str, Any]
Row = tuple[str, Record]  # where the record was found, and the record


@dataclass(frozen=True, slots=True)
class Shape:
    """A record that states one preference: its columns, and how to read them.

    `fields` returns keyword arguments of `to_pair` and raises `InvalidRecord`. The columns of
    `also` are optional; with `any_prompt` the prompt is in the first of `PROMPTS` that is there.
    """

    columns: tuple[str, ...]
    fields: Callable[[Record], Record]
    also: tuple[str, ...] = ()
    any_prompt: bool = False

    def unread(self, record: Record) -> set[str]:
        """Columns of the record that are not read."""
        read = {*self.columns, *self.also, "source"}
        if self is not MESSAGES:
            read |= {*CONTEXT, "subset"}
        if self.any_prompt:
            read.add(_prompt_column(record))
        return {name for name in record.keys() - read if record[name] is not None}


def read_pairs(rows: Iterable[Row | Reject], source: str, origin: str) -> Iterator[Pair | Reject]:
    """Turn the rows of one file or data set, called `origin` in errors, into pairs.

    The first record in a known shape fixes the shape of all. Rejects pass through. Raises
    `DataError` at the end if there were records but none in a known shape.
    """
    shape: Shape | None = None
    columns_found: list[str] | None = None
    messages: list[Row] = []
    for row in rows:
        if isinstance(row, Reject):
            yield row
            continue
        where, record = row
        shape = shape or _recognise(record)
        if shape is None:
            columns_found = columns_found or sorted(record)
            yield Reject(Reason.MISSING, where, "no known shape")
        elif missing := [column for column in shape.columns if column not in record]:
            yield Reject(Reason.MISSING, where, ", ".join(missing))
        elif shape is MESSAGES:
            messages.append((where, {key: record.get(key) for key in MESSAGE_KEYS}))
        else:
            yield _read_pair(shape, record, source, where)
    if shape is None and columns_found is not None:
        raise DataError(
            f"{origin}: no preference data in columns {', '.join(columns_found) or '(none)'}; "
            f"allowed: {'; '.join(', '.join(shape.columns) for shape in SHAPES)}"
        )
    yield from tree_pairs(messages, source)


def tree_pairs(messages: Iterable[Row], source: str) -> Iterator[Pair | Reject]:
    """Pairs from flat messages of conversation trees in OpenAssistant's format.

    Every two ranked replies to the same prompter message make a pair; the lower rank is better. The
    prompt is the path from the root. Deleted and non-English messages are left out, with all
    messages below them.
    """
    replies: dict[str | None, list[Row]] = defaultdict(list)
    for where, message in messages:
        try:
            _check_message(message)
        except InvalidRecord as invalid:
            yield invalid.at(where)
            continue
        if not message["deleted"] and message["lang"] in ("en", None):
            replies[message["parent_id"]].append((where, message))

    open_paths: list[tuple[Record, list[Message]]] = [(root, []) for _, root in replies[None]]
    while open_paths:
        message, path = open_paths.pop()
        role = "user" if message["role"] == "prompter" else "assistant"
        path = [*path, Message(role=role, content=message["text"])]
        children = replies[message["message_id"]]
        open_paths.extend((child, path) for _, child in children)
        if role == "user":
            ranked = [
                (where, child)
                for where, child in children
                if child["role"] == "assistant" and child["rank"] is not None
            ]
            ranked.sort(key=lambda row: row[1]["rank"])
            for (where, better), (_, worse) in combinations(ranked, 2):
                if better["rank"] == worse["rank"]:
                    yield Reject(Reason.TIE, where, f"two replies of rank {better['rank']}")
                else:
                    yield to_pair(
                        prompt=path,
                        chosen=better["text"],
                        rejected=worse["text"],
                        source=source,
                        where=where,
                        record=message["message_id"],
                    )


def unread_columns(rows: Iterable[Row | Reject]) -> set[str]:
    """Columns of the records that are not read; the first known shape is that of all records."""
    shape: Shape | None = None
    unread: set[str] = set()
    for row in rows:
        if not isinstance(row, Reject):
            shape = shape or _recognise(row[1])
            unread |= shape.unread(row[1]) if shape else set()
    return unread


def _recognise(record: Record) -> Shape | None:
    return next((shape for shape in SHAPES if record.keys() >= set(shape.columns)), None)


def _read_pair(shape: Shape, record: Record, source: str, where: str) -> Pair | Reject:
    try:
        fields = shape.fields(record)
        before = turns_before(record)
    except InvalidRecord as invalid:
        return invalid.at(where)
    subset = record.get("subset")
    return to_pair(**fields, subset=subset, before=before, source=source, where=where)


def _pair_fields(record: Record) -> Record:
    margin = record.get("margin")
    scores = [record.get(f"score_{side}") for side in ("chosen", "rejected")]
    if None not in scores:
        better, worse = (number(score, "score") for score in scores)
        if better == worse:
            raise InvalidRecord(Reason.TIE, f"both scored {better:g}")
        if better < worse:
            raise InvalidRecord(Reason.CONTRADICTION, f"{better:g} and {worse:g}")
        margin = better - worse if margin is None else margin
    return {
        "prompt": prompt_of(record),
        "chosen": record["chosen"],
        "rejected": record["rejected"],
        "margin": margin,
        "probability": record.get("probability"),
    }


def prompt_of(record: Record) -> Any:
    """The prompt from the first column that has one; None where answers are complete dialogues.

    Raises `InvalidRecord` for an `input` that cannot be appended to it.
    """
    prompt = record.get(_prompt_column(record))
    if more := record.get("input"):
        if not isinstance(prompt, str):
            raise InvalidRecord(
                Reason.WRONG_TYPE, "input is allowed only where the prompt is a text"
            )
        prompt = f"{prompt}\n\n{text(more, 'input')}"
    return prompt


def _prompt_column(record: Record) -> str:
    return next((name for name in PROMPTS if record.get(name) is not None), PROMPTS[0])


def _answer_fields(record: Record) -> Record:
    return {"prompt": prompt_of(record), "chosen": record["response"], "rejected": None}


def _text_score_fields(record: Record) -> Record:
    answers, scores = items(record["text"], "text"), items(record["score"], "score")
    if not len(answers) == len(scores) == 2:
        raise InvalidRecord(Reason.WRONG_TYPE, "text and score must have two entries each")
    return {"prompt": None, **_by_score(answers, scores)}


def _webgpt_fields(record: Record) -> Record:
    question = _entry(record["question"], "full_text", "question")
    return {
        "prompt": _as_prompt(text(question, "question.full_text")),
        **_by_score(
            [record["answer_0"], record["answer_1"]], [record["score_0"], record["score_1"]]
        ),
    }


def _summary_fields(record: Record) -> Record:
    post, title, subreddit = (
        text(_entry(record["info"], key, "info"), f"info.{key}")
        for key in ("post", "title", "subreddit")
    )
    summaries = [_entry(s, "text", "summaries") for s in items(record["summaries"], "summaries")]
    choice = number(record["choice"], "choice")
    if len(summaries) != 2 or choice not in (0, 1):
        raise InvalidRecord(Reason.WRONG_TYPE, "needs two summaries, and choice 0 or 1")
    rejected, chosen = summaries if choice == 1 else reversed(summaries)
    prompt = f"SUBREDDIT: r/{subreddit}\nTITLE: {title}\nPOST: {post}\nTL;DR:"
    return {"prompt": _as_prompt(prompt), "chosen": chosen, "rejected": rejected}


def _by_score(answers: list[Any], scores: list[Any]) -> Record:
    """The answer with the higher score as chosen; raises `InvalidRecord` for a tie."""
    first, second = (number(score, "score") for score in scores)
    if first == second:
        raise InvalidRecord(Reason.TIE, f"both scored {first:g}")
    chosen, rejected = answers if first > second else reversed(answers)
    return {"chosen": chosen, "rejected": rejected, "margin": abs(first - second)}


def _as_prompt(content: str) -> list[Message]:
    return [Message(role="user", content=content)]


def _entry(value: Any, key: str, name: str) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise InvalidRecord(Reason.WRONG_TYPE, f"{name} must be an object with {key}")
    return value[key]


def _check_message(message: Record) -> None:
    for key in ("message_id", "role", "text"):
        text(message[key], key)
    if message["parent_id"] is not None:
        text(message["parent_id"], "parent_id")
    if message["rank"] is not None:
        number(message["rank"], "rank")
    if message["role"] not in ("prompter", "assistant"):
        raise InvalidRecord(Reason.WRONG_TYPE, "role must be prompter or assistant")


PROMPTS = ("prompt", "question", "instruction")
CONTEXT = ("system", "history", "tools")
"""Columns that are read in every shape."""
MESSAGE_KEYS = ("message_id", "parent_id", "role", "text", "rank", "deleted", "lang")
MESSAGES = Shape(("message_id", "parent_id", "role", "text", "rank"), dict, MESSAGE_KEYS)
SHAPES = (
    Shape(
        ("chosen", "rejected"),
        _pair_fields,
        ("input", "margin", "probability", "score_chosen", "score_rejected"),
        any_prompt=True,
    ),
    Shape(("question", "answer_0", "answer_1", "score_0", "score_1"), _webgpt_fields),
    Shape(("info", "summaries", "choice"), _summary_fields),
    Shape(("text", "score"), _text_score_fields),
    Shape(("prompt", "response"), _answer_fields, ("input",)),
    MESSAGES,
)
