"""The preferences that one record states, by the keys of its shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from more_ray.data.messages import from_json, turns_before
from more_ray.data.records import Pair, to_pair
from more_ray.data.rejects import InvalidRecord, Reason, Reject, items, number
from more_ray.data.shapes.known import Shape
from more_ray.data.shapes.paths import Paths, Record, find
from more_ray.data.shapes.verdicts import Sides, compare, share_of, votes_of_two

VERDICTS = ("scores", "ranks", "votes", "label", "strength", "first", "order")


def pairs_of(
    shape: Shape, records: Sequence[Record], source: str, where: str
) -> Iterator[Pair | Reject]:
    """The pairs of a record, or of neighbouring records that hold an answer each.

    What is not about the answers is that of the first record. `where` is where that was found.
    """
    record = records[0]
    try:
        common = _common(shape, record)
        if "chosen" in shape.keys:
            sides = _stated(shape, record)
        elif shape.by_row:
            sides = _rows(shape, records)
        else:
            sides = _compared(shape, record)
    except InvalidRecord as invalid:
        yield invalid.at(where)
        return
    together = where if len(sides) > 1 else None
    for two in sides:
        yield tie_or_pair(**{**two, **common}, source=source, where=where, record=together)


def tie_or_pair(**fields: Any) -> Pair | Reject:
    """As `to_pair`; a tie of two equal answers is rejected as the tie that it is."""
    pair = to_pair(**fields)
    if isinstance(pair, Reject) and pair.reason is Reason.IDENTICAL and fields.get("share") == 0.5:
        return Reject(Reason.TIE, pair.where, "two equal answers")
    return pair


def prompt_in(shape: Shape, record: Record) -> Any:
    """The prompt as the record has it; raises `InvalidRecord`."""
    return _given(shape, record, "prompt") if "prompt" in shape.keys else shape.prompt(record)


def _common(shape: Shape, record: Record) -> Record:
    """The arguments of `to_pair` that all pairs of a record have."""
    context = {name: _given(shape, record, name) for name in ("system", "history")}
    extra = {
        name: _given(shape, record, name) for name in ("margin", "probability", "weight", "subset")
    }
    return {
        "prompt": prompt_in(shape, record),
        "before": turns_before({**context, "tools": record.get("tools")}),
        **{name: value for name, value in extra.items() if value is not None},
    }


def _given(shape: Shape, record: Record, name: str) -> Any:
    """A value that a record may lack; None also for the empty field of a CSV file."""
    try:
        value = find(record, shape.keys[name])
    except LookupError:
        return None
    return None if value == "" and name not in ("prompt", "subset") else value


def _stated(shape: Shape, record: Record) -> list[Sides]:
    """Pairs of what is chosen and what is rejected; every two where these are lists of answers.

    Raises:
        InvalidRecord: scores say the opposite, or are not numbers.
    """
    chosen = find(record, shape.keys["chosen"])
    rejected = find(record, shape.keys["rejected"]) if "rejected" in shape.keys else None
    if shape.lists_in_text:
        chosen, rejected = (_from_text(side) for side in (chosen, rejected))
    known = _scored(shape, record)
    return [
        {"chosen": better, "rejected": worse, **known}
        for better in _several(chosen)
        for worse in _several(rejected)
    ]


def lists_texts(value: Any) -> bool:
    """Whether a value is JSON text of a list of texts."""
    answers = from_json(value) if isinstance(value, str) else None
    return isinstance(answers, list) and bool(answers) and all(isinstance(a, str) for a in answers)


def _from_text(value: Any) -> Any:
    """The answers of JSON text of a list of texts; any other value unchanged."""
    return from_json(value) if lists_texts(value) else value


def _several(value: Any) -> list[Any]:
    """The answers of a list; a text or a list of messages is one answer."""
    is_list = isinstance(value, list) and value and all(isinstance(a, str | list) for a in value)
    return value if is_list else [value]


def _scored(shape: Shape, record: Record) -> Sides:
    """Margin and share of a stated pair, as far as its scores and votes tell."""
    known: Sides = {}
    scores = _verdict(shape, record, "scores")
    if scores is not None and None not in items(scores, "scores"):
        better, worse = _two(scores, "scores")
        if better < worse:
            raise InvalidRecord(Reason.CONTRADICTION, f"{better:g} and {worse:g}")
        known = {"margin": better - worse} | ({"share": 0.5} if better == worse else {})
    if (votes := _verdict(shape, record, "votes")) is not None:
        known["share"] = share_of(_two(votes_of_two(votes), "votes"))
    return known


def _two(values: list[Any], name: str) -> list[float]:
    if len(values) != 2:
        raise InvalidRecord(Reason.WRONG_TYPE, f"two {name} are allowed")
    return [number(value, name.removesuffix("s")) for value in values]


def _verdict(shape: Shape, record: Record, kind: str) -> Any:
    """Scores or votes that a record may lack."""
    try:
        return _at(record, shape.keys[kind])
    except LookupError:
        return None


def _at(record: Record, paths: Paths) -> Any:
    """A verdict, with None for the empty fields of a CSV file."""
    value = from_json(find(record, paths))
    if isinstance(value, list):
        return [None if entry == "" else entry for entry in value]
    return None if value == "" else value


def _compared(shape: Shape, record: Record) -> list[Sides]:
    """Pairs of answers that have a verdict; raises `InvalidRecord`."""
    paths = shape.keys["answers"]
    kind = next(kind for kind in VERDICTS if kind in shape.keys)
    found = find(record, paths)
    if kind == "order" and shape.lists_in_text:
        found = _from_text(found)
    if kind == "order" and isinstance(found, str):
        return [{"chosen": found, "rejected": None}]
    answers = items(from_json(found), "answers")
    verdict = _at(record, shape.keys[kind])
    return compare(answers, kind, verdict, _names(paths, len(answers)))


def _names(paths: Paths, answers: int) -> list[str]:
    """What labels call the answers: the last step in which all paths differ, or their places."""
    steps = [] if isinstance(paths, str) else [path.split(".")[::-1] for path in paths]
    for names in zip(*steps, strict=False):
        if len(set(names)) == answers:
            return list(names)
    return [str(place) for place in range(answers)]


def _rows(shape: Shape, records: Sequence[Record]) -> list[Sides]:
    """Pairs of the answers of neighbouring records; raises `InvalidRecord`."""
    kind = next(kind for kind in VERDICTS if kind in shape.keys)
    answers = [find(record, shape.keys["answers"]) for record in records]
    return compare(answers, kind, [_at(record, shape.keys[kind]) for record in records], ())
