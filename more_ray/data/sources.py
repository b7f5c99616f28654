"""Where raw records come from: files by path or URI, and the paper's five sources on the hub."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import fsspec

from more_ray.data.files import EXTENSIONS, read_file, reader_of
from more_ray.data.records import Pair
from more_ray.data.rejects import Reject
from more_ray.data.shapes import read_pairs
from more_ray.errors import DataError


@dataclass(frozen=True)
class SourceFiles:
    """A source and its files; both are None for a source on the hub."""

    name: str
    train: str | None = None
    test: str | None = None
    revision: str | None = None
    """For a source on the hub: a commit, tag or branch; None is the newest that can be read."""


@dataclass(frozen=True)
class HubSource:
    """A data set on the Hugging Face hub."""

    path: str
    test: str | None
    data_dir: str | None = None
    revision: str | None = None


AS_PARQUET = "refs/convert/parquet"
"""Where the hub keeps its own conversion of data sets that are loaded by a script."""

HUB_SOURCES = {
    "helpful": HubSource("Anthropic/hh-rlhf", test="test", data_dir="helpful-base"),
    "harmless": HubSource("Anthropic/hh-rlhf", test="test", data_dir="harmless-base"),
    "oasst1": HubSource("OpenAssistant/oasst1", test="validation"),
    "webgpt": HubSource("openai/webgpt_comparisons", test=None, revision=AS_PARQUET),
    "summarize": HubSource(
        "openai/summarize_from_feedback",
        test="validation",
        data_dir="comparisons",
        revision=AS_PARQUET,
    ),
}


def locate(sources: list[str], root: str | None) -> list[SourceFiles]:
    """The sources that `data.sources` and `data.root` name.

    A source is a name in the folder `root` (without `root`: on the hub, and `name@revision` picks
    a revision), a path or URI, or `name=path`. Empty `sources` means every source in `root`.

    Raises:
        DataError: an unknown name, a folder that does not exist or holds no source, or a name
            that is given twice.
    """
    found = _folder(root) if root else {}
    names = sources or sorted(found)
    located = [_locate_source(entry, found, root) for entry in names]
    for position, source in enumerate(located):
        if any(source.name == earlier.name for earlier in located[:position]):
            raise DataError(f"data.sources: {source.name} is given twice")
    return located


def iter_pairs(source: SourceFiles, split: str) -> Iterator[Pair | Reject]:
    """The pairs and rejects of a split, streamed.

    Raises:
        DataError: the file or data set is missing, or holds no records in a known shape.
    """
    if source.train is None:
        return read_hub(source, split)
    url = source.train if split == "train" else source.test
    assert url is not None
    return read_file(url, source.name)


def has_test(source: SourceFiles) -> bool:
    """Whether the source brings its own test split."""
    if source.train is None:
        return HUB_SOURCES[source.name].test is not None
    return source.test is not None


def fingerprint(source: SourceFiles) -> list[Any]:
    """Values that change with the source's content, as far as can be told without reading it."""
    if source.train is None:
        hub = HUB_SOURCES[source.name]
        return [source.name, hub.path, source.revision or hub.revision]
    files: list[Any] = [source.name]
    for url in filter(None, (source.train, source.test)):
        filesystem, path = fsspec.core.url_to_fs(url)
        try:
            info = filesystem.info(path)
        except OSError as error:
            raise DataError(f"{url}: no such file") from error
        version = next(
            (str(info[key]) for key in ("ETag", "etag", "mtime", "LastModified") if key in info), ""
        )
        files += [info["size"], version]
    return files


def read_hub(source: SourceFiles, split: str) -> Iterator[Pair | Reject]:
    """The pairs and rejects of a source on the hub, streamed through `datasets`.

    Raises:
        DataError: the hub cannot be reached or does not have the data set.
    """
    import datasets  # takes a second

    hub = HUB_SOURCES[source.name]
    part = "train" if split == "train" else hub.test
    try:
        rows = datasets.load_dataset(
            hub.path,
            data_dir=hub.data_dir,
            split=part,
            revision=source.revision or hub.revision,
            streaming=True,
        )
        origin = f"{hub.path}:{part}"
        numbered = ((f"{origin} row {number}", row) for number, row in enumerate(rows))
        yield from read_pairs(numbered, source.name, origin)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"source {source.name}: cannot read {hub.path} from the hub: {reason}"
        ) from error


def _folder(root: str) -> dict[str, SourceFiles]:
    """The sources of a folder by name."""
    filesystem, path = fsspec.core.url_to_fs(root)
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
                found[name] = SourceFiles(name, url, files.get(f"{name}.test{extension}"))
    if not found:
        raise DataError(f"data.root: {root} holds no <source>.train{{{','.join(EXTENSIONS)}}}")
    return found


def _locate_source(entry: str, found: dict[str, SourceFiles], root: str | None) -> SourceFiles:
    name, equals, url = entry.partition("=")
    if equals or entry.endswith(EXTENSIONS):
        url = url or entry
        name = name if equals else posixpath.basename(url).split(".")[0]
        reader_of(url)
        return SourceFiles(name, url, _test_sibling(url))
    name, _, revision = entry.partition("@")
    if revision and name in HUB_SOURCES and not found:
        return SourceFiles(name, revision=revision)
    known = found or {name: SourceFiles(name) for name in HUB_SOURCES}
    if entry in known:
        return known[entry]
    near = get_close_matches(entry, known, n=1)
    hint = f", nearest: {near[0]}" if near else ""
    where = root or "the hub"
    raise DataError(
        f"data.sources: unknown source {entry}{hint}; {where} has {', '.join(sorted(known))}"
    )


def _test_sibling(url: str) -> str | None:
    folder, slash, base = url.rpartition("/")
    if ".train." not in base:
        return None
    sibling = f"{folder}{slash}{base.replace('.train.', '.test.')}"
    filesystem, path = fsspec.core.url_to_fs(sibling)
    return sibling if filesystem.exists(path) else None
