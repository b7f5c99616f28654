"""What a user says of a source's columns, joined with what the known shapes say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from more_ray.data.messages import from_json
from more_ray.data.shapes.known import ANSWER, EXPLICIT, TREE, Shape, recognise
from more_ray.data.shapes.paths import Paths, Record, each_path, find, has
from more_ray.data.shapes.preferences import VERDICTS, lists_texts

ANSWERS = ("chosen", "rejected", "answers")
MAY_LACK = ("system", "history", "margin", "weight", "subset", "source")
"""What single records may be without."""


@dataclass(frozen=True)
class HowToRead:
    """How the records of a source are read."""

    columns: Mapping[str, Paths] = field(default_factory=dict, hash=False)
    """Which column is what, where the known shapes do not say it (`data.columns`)."""
    values: frozenset[str | None] = frozenset()
    """With `columns["source"]`: the values that make a record one of this source's; None stands
    for records without a value, and for what cannot be read."""
    pairs_per_prompt: int | None = None
    seed: int = 0
    """Of the choice of pairs where a prompt has more."""


AS_KNOWN = HowToRead()


def shape_of(record: Record, columns: Mapping[str, Paths]) -> Shape | None:
    """The shape of a record; None where neither `columns` nor the known shapes give one.

    With `chosen` or `answers`, `columns` says all about the answers, and the rest has its usual
    column unless `columns` gives it. Otherwise the record has a known shape, and `columns` changes
    what it names. Where the record's answers are lists in JSON text, those of others may be, too.
    """
    shape = _with_columns(record, columns)
    if shape is None:
        return None
    names = ("answers",) if "order" in shape.keys else ("chosen", "rejected")
    paths = [shape.keys.get(name) for name in names]
    in_text = all(
        isinstance(path, str) and has(record, path) and lists_texts(find(record, path))
        for path in paths
    )
    return replace(shape, lists_in_text=True) if in_text else shape


def _with_columns(record: Record, columns: Mapping[str, Paths]) -> Shape | None:
    columns = {name: paths for name, paths in columns.items() if name != "source"}
    if {"chosen", "answers"} & columns.keys():
        shape = Shape((), _without(EXPLICIT.keys, *ANSWERS, *VERDICTS))
    else:
        shape = recognise(record)
    if not columns or shape is None or shape is TREE:
        return shape
    keys = dict(shape.keys)
    if columns.keys() & set(VERDICTS):
        keys = _without(keys, *VERDICTS)
        if shape is ANSWER:
            keys = _without(keys, "chosen") | {"answers": "response"}
    keys |= columns
    if "chosen" in keys and columns.keys() & {"label", "ranks", "strength"}:
        two = [str(keys[name]) for name in ("chosen", "rejected")]
        keys = _without(keys, *ANSWERS) | {"answers": two}
    needed = each_path(paths for name, paths in columns.items() if name not in MAY_LACK)
    needs = tuple(dict.fromkeys([*shape.needs, *needed]))
    return replace(shape, needs=needs, keys=keys, by_row=_is_by_row(record, keys))


def in_words(shape: Shape, columns: Mapping[str, Paths]) -> str:
    """What a file was taken for: its columns, and what `columns` says of others."""
    known = [path for path in shape.needs if path not in each_path(columns.values())]
    given = [
        f"{name}={paths if isinstance(paths, str) else ' and '.join(paths)}"
        for name, paths in columns.items()
    ]
    return ", ".join([*known, *given])


def _is_by_row(record: Record, keys: Mapping[str, Paths]) -> bool:
    """Whether a record holds one answer, so that its neighbours hold the others."""
    path = keys.get("answers")
    of_all = {"label", "strength", "order"}
    if not isinstance(path, str) or of_all & keys.keys() or not has(record, path):
        return False
    return not isinstance(from_json(find(record, path)), list)


def _without(keys: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in keys.items() if name not in names}
