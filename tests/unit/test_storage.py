"""What is on the disk when, as a power cut would show it."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import pytest

from more_ray import storage


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> dict[int, bytes | None]:
    """What has been written to the disk, by inode: the content of a file, None for a folder."""
    done: dict[int, bytes | None] = {}

    def fsync(handle: int) -> None:
        size = os.fstat(handle).st_size
        done[os.fstat(handle).st_ino] = (
            None if Path(f"/dev/fd/{handle}").is_dir() else os.pread(handle, size, 0)
        )

    monkeypatch.setattr(os, "fsync", fsync)
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint or model, made aside."""
    (tmp_path / "aside" / "state").mkdir(parents=True)
    for name in ("config.json", "weights", "state/part"):
        (tmp_path / "aside" / name).write_text(name)
    return tmp_path / "aside"


def test_one_is_alone_in_a_folder_and_the_next_waits(tmp_path: Path) -> None:
    order: list[str] = []
    folder = str(tmp_path / "new")

    def work(name: str) -> None:
        with storage.alone_in(folder):
            order.append(f"{name} begins")
            sleep(0.05)
            order.append(f"{name} ends")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abcd"))
    assert [line[0] for line in order[::2]] == [line[0] for line in order[1::2]]
    assert sorted(order[::2]) == [f"{name} begins" for name in "abcd"]


def test_a_copy_is_on_the_disk_with_all_in_it(
    folder: Path, tmp_path: Path, synced: dict[int, bytes | None]
) -> None:
    copy = tmp_path / "run" / "copy"
    shutil.copytree(folder, copy)
    storage.sync_copy(folder, str(copy))
    for path in (copy.parent, copy, *copy.rglob("*")):
        assert synced[path.stat().st_ino] == (None if path.is_dir() else path.read_bytes())


def test_a_file_has_its_name_once_its_content_is_on_the_disk(
    tmp_path: Path, synced: dict[int, bytes | None]
) -> None:
    storage.write_text(str(tmp_path / "file"), "content")
    assert synced == {(tmp_path / "file").stat().st_ino: b"content"}


def test_the_last_file_of_an_upload_comes_when_all_others_are_on_the_disk(
    folder: Path,
    tmp_path: Path,
    synced: dict[int, bytes | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tmp_path / "model"

    def write_text(uri: str, text: str) -> None:
        assert (uri, text) == (str(model / "config.json"), "config.json")
        assert all(path.stat().st_ino in synced for path in model.rglob("*"))

    monkeypatch.setattr(storage, "write_text", write_text)
    storage.upload(folder, str(model), last="config.json")
    assert {path.name for path in model.rglob("*")} == {"state", "part", "weights"}
