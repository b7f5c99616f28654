"""Rows of the files of a source -> pairs: their shapes, their mapping of columns, their prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from more_ray.data.records import Pair
from more_ray.data.rejects import InvalidRecord, Reason, Reject
from more_ray.data.shapes.known import TREE, Shape
from more_ray.data.shapes.mapping import AS_KNOWN, MAY_LACK, HowToRead, in_words, shape_of
from more_ray.data.shapes.nearest import no_shape
from more_ray.data.shapes.paths import Record, column, each_path, find, has
from more_ray.data.shapes.preferences import pairs_of, prompt_in
from more_ray.data.shapes.trees import KEYS, tree_pairs
from more_ray.errors import DataError

Row = tuple[str, Record]  # where the record was found, and the record


@dataclass
class Seen:
    """What was seen of a file."""

    shapes: set[str] = field(default_factory=set)
    """What it was taken for."""
    unread: set[str] = field(default_factory=set)
    """Its columns that are not read."""


def read_pairs(
    rows: Iterable[Row | Reject], source: str, origin: str, how: HowToRead = AS_KNOWN
) -> Iterator[Pair | Reject]:
    """As `read_files`, of one file or data set."""
    yield from read_files([(origin, rows)], source, how)


def read_files(
    files: Iterable[tuple[str, Iterable[Row | Reject]]], source: str, how: HowToRead = AS_KNOWN
) -> Iterator[Pair | Reject]:
    """Turn the rows of files or data sets, each with its name for errors, into pairs.

    The first record of a file in a known shape fixes the shape of the file. Message trees and
    neighbouring rows with a prompt go on from file to file. Rejects pass through.

    Raises:
        DataError: at the end of a file, if there were records but none in a known shape, or none
            with a path of `how.columns` that every record must have.
    """
    shaped = chain.from_iterable(_shaped(rows, source, origin, how) for origin, rows in files)
    for pairs in _by_prompt(shaped, source):
        yield from _capped(pairs, how)


def look(rows: Iterable[Row | Reject], how: HowToRead = AS_KNOWN) -> Seen:
    """What the shape of some rows is, and which of their columns are not read."""
    shape: Shape | None = None
    seen = Seen()
    by_source = each_path(paths for name, paths in how.columns.items() if name == "source")
    for row in _of_source(rows, how):
        if isinstance(row, Reject):
            continue
        shape = shape or shape_of(row[1], how.columns)
        if shape:
            seen.shapes.add(in_words(shape, how.columns))
            seen.unread |= shape.unread(row[1]) - {column(path, row[1]) for path in by_source}
    return seen


def _of_source(rows: Iterable[Row | Reject], how: HowToRead) -> Iterator[Row | Reject]:
    """The rows that belong to the source, where a column says it."""
    path = how.columns.get("source")
    for row in rows:
        if not isinstance(path, str) or source_value(row, path) in how.values:
            yield row


def source_value(row: Row | Reject, path: str) -> str | None:
    """What the column of sources says, whole numbers alike; None where it names no source."""
    value = None if isinstance(row, Reject) or not has(row[1], path) else find(row[1], path)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if value != "" and isinstance(value, str | int) else None


def _shaped(
    rows: Iterable[Row | Reject], source: str, origin: str, how: HowToRead
) -> Iterator[Reject | tuple[Shape, Row]]:
    """The records of a file with their shape; raises as `read_files`."""
    shape: Shape | None = None
    first: Record | None = None
    needed = [paths for name, paths in how.columns.items() if name not in MAY_LACK]
    missing_in_all = set(each_path(needed))
    for row in _of_source(rows, how):
        if isinstance(row, Reject):
            yield row
            continue
        where, record = row
        first = first or record
        missing_in_all -= {path for path in missing_in_all if has(record, path)}
        shape = shape or shape_of(record, how.columns)
        if shape is None:
            yield Reject(Reason.MISSING, where, "no known shape")
        elif missing := [path for path in shape.needs if not has(record, path)]:
            yield Reject(Reason.MISSING, where, ", ".join(missing))
        else:
            yield shape, row
    if first is not None and missing_in_all:
        raise no_record_has(missing_in_all, origin, sorted(first))
    if first is not None and shape is None:
        raise no_shape(first, source, origin, how.columns)


def no_record_has(paths: Iterable[str], origin: str, columns: Iterable[str]) -> DataError:
    """The error for paths of `data.columns` where the first record has these columns."""
    return DataError(
        f"{origin}: data.columns: no record has {', '.join(sorted(paths))}; the first "
        f"has {', '.join(columns) or '(none)'}"
    )


def _by_prompt(
    shaped: Iterable[Reject | tuple[Shape, Row]], source: str
) -> Iterator[list[Pair | Reject]]:
    """The pairs of each prompt together."""
    messages: list[Row] = []
    neighbours: list[tuple[Shape, Row]] = []
    for entry in shaped:
        if isinstance(entry, Reject):
            yield [entry]
            continue
        shape, (where, record) = entry
        if neighbours and not _same_prompt(neighbours[0], entry):
            yield _of_rows(neighbours, source)
            neighbours = []
        if shape is TREE:
            messages.append((where, {key: record.get(key) for key in KEYS}))
        elif shape.by_row:
            neighbours.append(entry)
        else:
            yield list(pairs_of(shape, [record], source, where))
    if neighbours:
        yield _of_rows(neighbours, source)
    yield from tree_pairs(messages, source)


def _capped(pairs: list[Pair | Reject], how: HowToRead) -> Iterator[Pair | Reject]:
    """The rejects, and at most `how.pairs_per_prompt` of the pairs, ties last.

    Which ones depends on the pairs and the seed, not on what else is read.
    """
    good = [pair for pair in pairs if isinstance(pair, Pair)]
    if how.pairs_per_prompt is None or len(good) <= how.pairs_per_prompt:
        yield from pairs
        return

    def order(pair: Pair) -> tuple[bool, bytes]:
        content = json.dumps([how.seed, pair.prompt, *sorted([pair.chosen, pair.rejected])])
        return pair.share == 0.5, hashlib.blake2b(content.encode(), digest_size=8).digest()

    kept = {id(pair) for pair in sorted(good, key=order)[: how.pairs_per_prompt]}
    yield from (pair for pair in pairs if isinstance(pair, Reject) or id(pair) in kept)


def _same_prompt(one: tuple[Shape, Row], other: tuple[Shape, Row]) -> bool:
    if one[0] != other[0]:
        return False
    try:
        prompts = [prompt_in(shape, record) for shape, (_, record) in (one, other)]
    except InvalidRecord:
        return False
    return prompts[0] is not None and prompts[0] == prompts[1]


def _of_rows(rows: Sequence[tuple[Shape, Row]], source: str) -> list[Pair | Reject]:
    shape, (where, _) = rows[0]
    return list(pairs_of(shape, [record for _, (_, record) in rows], source, where))
