"""Paths, URIs and patterns that name the files of sources."""

from __future__ import annotations

import re

import fsspec

from more_ray.data.files import reader_of
from more_ray.errors import DataError


def file_system(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or URI, and the path within it; raises DataError without it."""
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DataError(f"{url}: {error}") from error  # "Install s3fs to access S3"
    except ValueError as error:
        raise DataError(f"{url}: {error}; allowed: a path, or a URI that fsspec opens") from error


def version(url: str) -> tuple[int, str]:
    """The size of a file, and its version or time of change; raises DataError without it."""
    filesystem, path = file_system(url)
    try:
        info = filesystem.info(path)
    except OSError as error:
        raise DataError(f"{url}: no such file") from error
    keys = ("ETag", "etag", "mtime", "LastModified", "Last-Modified")
    return info["size"], next((str(info[key]) for key in keys if key in info), "")


def exists(url: str) -> bool:
    """Whether there is such a file or folder; raises DataError as `file_system` does."""
    filesystem, path = file_system(url)
    return filesystem.exists(path)


def expanded(address: str) -> list[str]:
    """The files of a path, of several with commas between, and of patterns with `*` or `?`.

    Raises:
        DataError: none matches, or one is of an unknown kind.
    """
    if not re.search(r"[,*?]", address) or exists(address):
        reader_of(address)
        return [address]
    if "," in address:
        return [url for part in address.split(",") for url in expanded(part)]
    filesystem, path = file_system(address)
    urls = [filesystem.unstrip_protocol(match) for match in sorted(map(str, filesystem.glob(path)))]
    if not urls:
        raise DataError(f"data.sources: no file matches {address}")
    for url in urls:
        reader_of(url)
    return urls


def sibling_with_tests(url: str) -> str | None:
    """The file with the test pairs beside one with training pairs, by its name."""
    folder, slash, base = url.rpartition("/")
    if ".train." not in base:
        return None
    sibling = f"{folder}{slash}{base.replace('.train.', '.test.')}"
    return sibling if exists(sibling) else None
