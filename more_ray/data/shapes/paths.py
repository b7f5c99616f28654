"""Values of a record by dotted paths: `info.post`, `responses.0.text`, `answers.*.rank`.

A step is a column, a place in a list, or `*` for every entry of a list. JSON in a text is parsed
where a path goes on into it. A column whose name has dots in it is found by its whole name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from more_ray.data.messages import from_json

Record = dict[str, Any]
Paths = str | list[str]
"""A path, or a path for each answer."""
Keys = Mapping[str, Paths]
"""Which column is what: `prompt`, `chosen`, ... with the path of each."""


def find(record: Any, path: Paths) -> Any:
    """The value at a path, or a list of those at several; raises LookupError without one."""
    if isinstance(path, list):
        return [find(record, one) for one in path]
    if isinstance(record, dict) and path in record:
        return record[path]
    step, _, rest = path.partition(".")
    value = from_json(record)
    if step == "*" and isinstance(value, list):
        return [find(entry, rest) if rest else entry for entry in value]
    if isinstance(value, dict):
        inside = value[step]
    elif isinstance(value, list) and step.isdecimal():
        inside = value[int(step)]
    else:
        raise LookupError(path)
    return find(inside, rest) if rest else inside


def has(record: Record, path: str) -> bool:
    """Whether there is a value at a path, which may be None."""
    try:
        find(record, path)
    except LookupError:
        return False
    return True


def each_path(keys: Iterable[Paths]) -> list[str]:
    """All paths, one after the other."""
    return [path for paths in keys for path in ([paths] if isinstance(paths, str) else paths)]


def column(path: str, record: Record) -> str:
    """The column of a record that a path begins with."""
    return path if path in record else path.partition(".")[0]
