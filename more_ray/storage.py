"""Small files at a path, or at any URI that pyarrow's filesystems open."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from pyarrow import fs


def locate(uri: str | Path) -> tuple[fs.FileSystem, str]:
    """The filesystem of a path or URI, and the path within it."""
    text = str(uri)
    if "://" in text:
        return fs.FileSystem.from_uri(text)
    return fs.LocalFileSystem(), str(Path(text).expanduser().absolute())


def join(uri: str, *parts: str) -> str:
    """A path or URI below another."""
    return posixpath.join(uri, *parts)


def absolute(uri: str) -> str:
    """A path made absolute, so that every process means the same folder; URIs stay unchanged."""
    return uri if "://" in uri else locate(uri)[1]


def short_name(uri: str) -> str:
    """A short name for a path or URI: 12 hexadecimal digits of its hash."""
    return hashlib.sha256(uri.encode()).hexdigest()[:12]


def exists(uri: str) -> bool:
    filesystem, path = locate(uri)
    return filesystem.get_file_info(path).type is not fs.FileType.NotFound


def read_text(uri: str) -> str:
    """The content of a file; raises FileNotFoundError if it does not exist."""
    filesystem, path = locate(uri)
    with filesystem.open_input_stream(path) as stream:
        return stream.read().decode()


def write_text(uri: str, text: str) -> None:
    """Write under another name, then rename: a reader sees the old or the new file, never a part of
    it, even after a power cut."""
    filesystem, path = locate(uri)
    filesystem.create_dir(posixpath.dirname(path), recursive=True)
    aside = f"{path}.partial"
    with filesystem.open_output_stream(aside) as stream:
        stream.write(text.encode())
    if isinstance(filesystem, fs.LocalFileSystem):
        _sync(Path(aside))
    filesystem.move(aside, path)


def read_json(uri: str) -> Any:
    return json.loads(read_text(uri))


def write_json(uri: str, value: Any) -> None:
    write_text(uri, json.dumps(value, indent=2) + "\n")


def remove(uri: str) -> None:
    """Remove a file, or a folder with all its content; does nothing if neither exists."""
    filesystem, path = locate(uri)
    kind = filesystem.get_file_info(path).type
    if kind is fs.FileType.Directory:
        filesystem.delete_dir(path)
    elif kind is fs.FileType.File:
        filesystem.delete_file(path)


def upload(folder: Path, uri: str, last: str) -> None:
    """Move a local folder to a path or URI; the file `last` is written after all others.

    So the folder is complete once that file exists.
    """
    filesystem, path = locate(uri)
    filesystem.create_dir(path, recursive=True)
    text = (folder / last).read_text()
    (folder / last).unlink()
    fs.copy_files(
        str(folder), path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=filesystem
    )
    sync_copy(folder, uri)
    write_text(join(uri, last), text)


@contextmanager
def uploading(uri: str, last: str) -> Iterator[Path]:
    """A local folder to write into, which `upload` moves to a path or URI at the end."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        upload(Path(folder), uri, last)


@contextmanager
def alone_in(folder: str) -> Iterator[None]:
    """Wait until no other process is in such a block for a local folder; a URI is not waited for,
    nor a folder on a file system without locks."""
    filesystem, path = locate(folder)
    with ExitStack() as stack:
        if isinstance(filesystem, fs.LocalFileSystem):
            filesystem.create_dir(path, recursive=True)
            with suppress(OSError, NotImplementedError):
                stack.enter_context(FileLock(f"{path}/.lock"))
        yield


def upload_file(file: Path, uri: str) -> None:
    """Copy a local file to a path or URI: aside first, then renamed."""
    filesystem, path = locate(uri)
    aside = f"{path}.partial"
    fs.copy_files(
        str(file), aside, source_filesystem=fs.LocalFileSystem(), destination_filesystem=filesystem
    )
    filesystem.move(aside, path)


def sync_copy(folder: Path, uri: str) -> None:
    """Wait until a copy of the local `folder` at a path is on disk, not only in the system's cache.
    A URI stands for a store that ensures this itself."""
    filesystem, path = locate(uri)
    if isinstance(filesystem, fs.LocalFileSystem):
        for file in folder.rglob("*"):
            _sync(Path(path, file.relative_to(folder)))
        _sync(Path(path))
        for parent in Path(path).parents[:2]:
            _sync(parent)


def _sync(path: Path) -> None:
    """Sync a file's content, or a folder's list of names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def download(uri: str, folder: Path) -> None:
    """Copy a folder from a path or URI to a local one."""
    filesystem, path = locate(uri)
    fs.copy_files(
        path, str(folder), source_filesystem=filesystem, destination_filesystem=fs.LocalFileSystem()
    )


def folders(uri: str) -> list[str]:
    """The folders in a folder, in order of their names; empty if it does not exist."""
    return [join(uri, name) for name in _names(uri, fs.FileType.Directory)]


def files(uri: str) -> list[str]:
    """The names of the files in a folder, in order; empty if it does not exist."""
    return _names(uri, fs.FileType.File)


def _names(uri: str, kind: fs.FileType) -> list[str]:
    filesystem, path = locate(uri)
    found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(entry.base_name for entry in found if entry.type is kind)
