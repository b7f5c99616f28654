"""Disks that are full, or cannot be written for a while: the same command goes on. What is on a
disk when, for the case of a power cut."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from support import (
    MakeConfig,
    job_command,
    metrics,
    processes,
    read_lines,
    starts,
    wait_for,
    weights,
    without_cluster,
)

from more_ray.config.base import dump
from more_ray.train.job import Job
from more_ray.train.run import run
from more_ray.train.start import train_loop

pytestmark = pytest.mark.integration


class SmallDisk:
    """A file system in memory that only the processes see which are started in it.

    It lies in namespaces of its own, for which nobody needs to be root, and is gone with the last
    of these processes.
    """

    def __init__(self, holder: int, folder: Path) -> None:
        self._holder = holder
        self.folder = folder
        self.from_outside = Path(f"/proc/{holder}/root{folder}")

    def inside(self, command: list[str]) -> list[str]:
        enter = ["nsenter", "--target", str(self._holder), "--user", "--mount"]
        return [*enter, "--preserve-credentials", *command]

    def remount(self, options: str) -> bool:
        """Whether it could be done: a disk with a file open for writing is not made read-only."""
        # With a source, `mount` does not repeat the options that it had: those with ids in them
        # are not allowed in a namespace of users.
        command = ["mount", "-o", f"remount,{options}", "tmpfs", str(self.folder)]
        return subprocess.run(self.inside(command), stderr=subprocess.DEVNULL).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """With room for one checkpoint, but not for two."""
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("a disk of one's own needs unshare and nsenter, of util-linux")
    folder = tmp_path / "disk"
    folder.mkdir()
    script = 'mount -t tmpfs -o size=10m tmpfs "$1" && echo mounted && exec cat'
    with subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(folder)],
        stdin=subprocess.PIPE,  # it ends when this is closed, so with this process at the latest
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as holder:
        said = holder.stdout.readline()
        if said != "mounted\n":
            pytest.skip(f"a disk of one's own needs a user namespace, but: {said.strip()}")
        yield SmallDisk(holder.pid, folder)


@contextmanager
def started(command: list[str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A job that is killed where the test ends before it."""
    with output.open("w") as log:
        job = subprocess.Popen(
            command, env=without_cluster(), stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield job
    finally:
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def last_line(output: Path) -> str:
    return output.read_text().splitlines()[-1]


def outage(disk: SmallDisk, job: subprocess.Popen[bytes]) -> None:
    """Until workers that were started again have failed, too, or the job has ended."""

    def failed(workers: list[psutil.Process]) -> bool:
        return not any(worker.is_running() for worker in workers)

    workers = processes("ray::RayTrainWorker")
    wait_for(lambda: disk.remount("ro"), what="moment without an open file")
    wait_for(lambda: failed(workers), what="failed workers")
    wait_for(lambda: processes("ray::RayTrainWorker") or job.poll() is not None, what="new workers")
    again = processes("ray::RayTrainWorker")
    wait_for(lambda: failed(again), what="failed workers")
    assert disk.remount("rw")


def test_a_full_disk_and_an_outage(
    trained: Path, small_config: MakeConfig, disk: SmallDisk, tmp_path: Path
) -> None:
    """A full disk leaves a torn checkpoint. Given room, the same command goes on, even where Ray
    Train's record of the checkpoints was torn, too.

    While a disk cannot be written, workers fail, some times over. Once it is back the run goes on;
    where Ray Train itself could not write, it has ended, and the same command goes on.
    """
    config, output = tmp_path / "config.yaml", tmp_path / "output"
    command = disk.inside(job_command("train_more", "--config", str(config)))
    folder = disk.from_outside / "run"

    def configure(max_failures: int) -> None:
        changes = {"workers": 2, "max_failures": max_failures}
        config.write_text(dump(small_config(disk.folder / "run", train=changes)))

    configure(max_failures=0)
    with started(command, output) as job:
        assert job.wait(timeout=240) == 1
    assert last_line(output).startswith("error: training failed: ")
    assert "No space left on device" in last_line(output)
    sizes = [
        sum(file.stat().st_size for file in one.rglob("*"))
        for one in sorted((folder / "checkpoints").glob("step-*"))
    ]
    assert len(sizes) == 2
    assert sizes[1] < sizes[0]
    record = folder / "checkpoints" / "checkpoint_manager_snapshot.json"
    record.write_bytes(record.read_bytes()[:100])

    assert disk.remount("size=64m")
    configure(max_failures=20)
    with started(command, output) as job:
        wait_for(lambda: len(starts(folder)) == 2, what="second start")
        outage(disk, job)
        ended = job.wait(timeout=240)
    if ended != 0:
        assert last_line(output).startswith("error: training failed: ")
        with started(command, output) as job:
            assert job.wait(timeout=240) == 0
    steps = [start["step"] for start in starts(folder)]
    assert steps[:2] == [0, 4]
    assert len(steps) > 2
    assert len(metrics(folder)) == 12
    assert weights(folder) == weights(trained)


def test_a_checkpoint_counts_when_it_is_on_the_disk(
    cluster: None, small_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts of it: from ZeRO 1 on each worker writes one."""
    log = tmp_path / "syncs.jsonl"

    def note_syncs(arguments: dict[str, Job], fsync: Callable[[int], None] = os.fsync) -> None:
        def noted(handle: int) -> None:
            fsync(handle)
            with log.open("a") as lines:
                lines.write(json.dumps([os.fstat(handle).st_ino, time.time_ns()]) + "\n")

        os.fsync = noted
        train_loop(arguments)

    monkeypatch.setattr("more_ray.train.run.train_loop", note_syncs)
    run(small_config(tmp_path, train={"workers": 2, "zero_stage": 1}))
    checkpoints = tmp_path / "checkpoints"
    counted = (checkpoints / "checkpoint_manager_snapshot.json").stat().st_mtime_ns
    synced = {inode for inode, when in read_lines(log) if when < counted}
    newest = checkpoints / "step-00000012"
    assert len(list(newest.rglob("*optim_states.pt"))) == 2
    assert {path.stat().st_ino for path in (newest, *newest.rglob("*"))} <= synced
