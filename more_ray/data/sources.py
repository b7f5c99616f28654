"""Where raw records come from: files by path or URI, and data sets on the hub."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from more_ray import storage
from more_ray.config import DataConfig
from more_ray.data.addresses import expanded, file_system, sibling_with_tests, version
from more_ray.data.files import EXTENSIONS, read_records
from more_ray.data.hub import HUB, HUB_SOURCES, HubSource, hub_records, parse_hub
from more_ray.data.records import Pair
from more_ray.data.rejects import Reject
from more_ray.data.shapes import (
    AS_KNOWN,
    MAY_LACK,
    HowToRead,
    Paths,
    Record,
    Row,
    each_path,
    has,
    no_record_has,
    read_files,
    source_value,
)
from more_ray.errors import DataError

OF_RESULTS = {"mean": "the mean over sources", "everybody": "the shared head"}
MOST_SOURCES = 64
"""So many different values may name sources in one column."""


@dataclass(frozen=True)
class SourceFiles:
    """A source, its files or its data set on the hub, and how to read them."""

    name: str
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    hub: HubSource | None = None
    how: HowToRead = AS_KNOWN

    @property
    def place(self) -> str:
        """What tells its training data from other data."""
        if self.hub is None:
            return ",".join(storage.absolute(url.removeprefix("file://")) for url in self.train)
        is_folder = Path(self.hub.path).is_dir()
        path = storage.absolute(self.hub.path) if is_folder else self.hub.path
        return str(replace(self.hub, path=path))


def locate(data: DataConfig) -> list[SourceFiles]:
    """The sources that `data.sources` and `data.root` name.

    A source is a name in the folder `root` (without `root`: on the hub, and `name@revision` picks
    a revision), a path or URI, `name=path`, `name=path1,path2`, `name=folder/*.jsonl` or
    `name=hub:ORG/NAME`. No `sources` means every source in `root`. Where `data.columns` of a source
    has `source`, each value of that column is a source instead.

    Raises:
        DataError: an unknown name, a folder that does not exist or holds no source, or a name
            that is given twice.
    """
    found = _folder(data.root) if data.root else {}
    entries = [_locate_source(entry, found, data.root) for entry in data.sources or sorted(found)]
    for name in data.columns:
        if name not in [entry.name for entry in entries]:
            there = ", ".join(entry.name for entry in entries)
            raise DataError(f"data.columns: no source {name}; there are {there}")
    located = [source for entry in entries for source in _read_as(entry, data)]
    for position, source in enumerate(located):
        if source.name in OF_RESULTS:
            raise DataError(
                f"data.sources: no source can be called {source.name}, as results call "
                f"{OF_RESULTS[source.name]} that; give it another name (NAME={source.name}...)"
            )
        if any(source.name == earlier.name for earlier in located[:position]):
            raise DataError(f"data.sources: {source.name} is given twice")
    return located


def iter_pairs(source: SourceFiles, split: str) -> Iterator[Pair | Reject]:
    """The pairs and rejects of a split, streamed.

    Raises:
        DataError: a file or data set is missing, or holds no records in a known shape, or no record
            has what `data.columns` names.
    """
    _check_columns(source)
    yield from read_files(iter_records(source, split), source.name, source.how)


def _check_columns(source: SourceFiles) -> None:
    """Look for the columns that a file may lack, as long as one was not seen in any.

    Raises:
        DataError: no record of the source's files has one of them.
    """
    rare = [paths for name, paths in source.how.columns.items() if name in MAY_LACK]
    missing = set(each_path(rare))
    origins: list[str] = []
    first: Record = {}
    every = chain.from_iterable(iter_records(source, split) for split in splits(source))
    for origin, rows in every:
        origins.append(origin)
        with closing(rows):
            for row in rows:
                if not missing:
                    return
                if not isinstance(row, Reject):
                    first = first or row[1]
                    missing -= {path for path in missing if has(row[1], path)}
    if missing and first:
        raise no_record_has(missing, ", ".join(origins), sorted(first))


def iter_records(
    source: SourceFiles, split: str
) -> Iterator[tuple[str, Generator[Row | Reject, None, None]]]:
    """The raw records of a split: of each file or data set, with its name for errors."""
    if source.hub is not None:
        part = source.hub.train if split == "train" else source.hub.test
        assert part is not None
        yield f"{source.hub.path}:{part}", hub_records(source.hub, part, source.name)
    for url in source.train if split == "train" else source.test:
        yield url, read_records(url)


def has_test(source: SourceFiles) -> bool:
    """Whether the source brings its own test split."""
    return bool(source.test) if source.hub is None else source.hub.test is not None


def splits(source: SourceFiles) -> tuple[str, ...]:
    """The splits that the source brings."""
    return ("train", "test") if has_test(source) else ("train",)


def fingerprint(source: SourceFiles) -> list[Any]:
    """Values that change with the source's content, as far as can be told without reading it."""
    of_values = sorted(map(str, source.how.values))
    urls = (*source.train, *source.test)
    address = []
    if source.hub is not None:
        address = [str(source.hub)]
        urls = sorted(str(file) for file in Path(source.hub.path).rglob("*") if file.is_file())
    versions = [part for url in urls for part in version(url)]
    return [source.name, *of_values, *address, *versions]


def _folder(root: str) -> dict[str, SourceFiles]:
    """The sources of a folder by name."""
    filesystem, path = file_system(root)
    try:
        urls = [filesystem.unstrip_protocol(entry) for entry in filesystem.ls(path, detail=False)]
    except OSError as error:
        raise DataError(f"data.root: no folder {root}") from error
    files = {posixpath.basename(url): url for url in urls}
    found = {}
    for extension in EXTENSIONS:
        for base, url in files.items():
            if base.endswith(f".train{extension}"):
                name = base.removesuffix(f".train{extension}")
                test = files.get(f"{name}.test{extension}")
                found[name] = SourceFiles(name, (url,), (test,) if test else ())
    if not found:
        raise DataError(f"data.root: {root} holds no <source>.train{{{','.join(EXTENSIONS)}}}")
    return found


def name_and_address(entry: str) -> tuple[str | None, str]:
    """The name and the path or URI of `name=path`; no name where there is none.

    Folders and files may have names with `=`, too, but no name of a source has a `/`.
    """
    name, equals, address = entry.partition("=")
    is_named = equals and "/" not in name and not name.startswith(HUB)
    return (name, address) if is_named else (None, entry)


def _locate_source(entry: str, found: dict[str, SourceFiles], root: str | None) -> SourceFiles:
    if entry.startswith(HUB):
        raise DataError(f"data.sources: {entry} has no name; allowed: name={entry}")
    name, address = name_and_address(entry)
    if name is not None and address.startswith(HUB):
        return SourceFiles(name, hub=parse_hub(address))
    if name is not None or entry.endswith(EXTENSIONS):
        urls = expanded(address)
        name = posixpath.basename(urls[0]).split(".")[0] if name is None else name
        tests = [test for url in urls if (test := sibling_with_tests(url))]
        return SourceFiles(name, tuple(url for url in urls if url not in tests), tuple(tests))
    known_as, _, revision = entry.partition("@")
    if revision and known_as in HUB_SOURCES and not found:
        return SourceFiles(known_as, hub=replace(HUB_SOURCES[known_as], revision=revision))
    known = found or {name: SourceFiles(name, hub=hub) for name, hub in HUB_SOURCES.items()}
    if entry in known:
        return known[entry]
    raise DataError(
        f"data.sources: unknown source {entry}{nearest(entry, known)}; {root or 'the hub'} has "
        f"{', '.join(sorted(known))}"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """For an error: the known name that is most like `name`, if one is."""
    near = get_close_matches(name, list(known), n=1)
    return f", nearest: {near[0]}" if near else ""


def _read_as(entry: SourceFiles, data: DataConfig) -> list[SourceFiles]:
    """An entry of `data.sources` with how to read it; a source for each value of its `source`."""
    columns: dict[str, Paths] = {**data.columns.get(entry.name, {})}
    how = HowToRead(columns, frozenset(), data.pairs_per_prompt, data.seed)
    if "source" not in columns:
        return [replace(entry, how=how)]
    named = _values_by_name(entry, str(columns["source"]), tuple(fingerprint(entry)))
    (first, value), *others = named.items()
    values = [(first, {value, None}), *((name, {value}) for name, value in others)]
    return [
        replace(entry, name=name, how=replace(how, values=frozenset(mine))) for name, mine in values
    ]


@lru_cache(maxsize=16)
def _values_by_name(entry: SourceFiles, path: str, version: tuple[Any, ...]) -> dict[str, str]:
    """The values of the column at `path` by the names of sources that they give, sorted.

    Only the values are kept in memory. `version` is that of the files, which may change.

    Raises:
        DataError: there is no value, or too many, or two that give the same name.
    """
    values: set[str] = set()
    for split in splits(entry):
        for _, rows in iter_records(entry, split):
            for row in rows:
                value = source_value(row, path)
                values |= set() if value is None else {value}
                if len(values) > MOST_SOURCES:
                    raise DataError(
                        f"data.columns.{entry.name}.source: {path} has more than {MOST_SOURCES} "
                        "different values"
                    )
    if not values:
        raise DataError(f"data.columns.{entry.name}.source: no record has a name at {path}")
    named: dict[str, str] = {}
    for value in sorted(values):
        name = re.sub(r"[^\w.-]", "_", value)
        if name in named:
            raise DataError(
                f"data.columns.{entry.name}.source: {named[name]!r} and {value!r} at {path} are "
                f"both called {name}"
            )
        named[name] = value
    return named
