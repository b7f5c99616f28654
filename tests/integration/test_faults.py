"""Processes that are killed: the run goes on and ends with the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from more_ray.cli import dump_config
from more_ray.config import RunConfig
from more_ray.train.run import RunError, run

pytestmark = pytest.mark.integration
MakeConfig = Callable[..., RunConfig]
JOB = Path(__file__).parents[2] / "jobs" / "train_more.py"


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Its value once that is true; it is asked again and again."""
    deadline = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < deadline, f"no {what} within two minutes"
        time.sleep(0.01)
    return value


def wait_for_checkpoint(folder: Path) -> None:
    wait_for(lambda: list((folder / "checkpoints").glob("step-*/latest")), "checkpoint")


def wait_for_recorded_checkpoint(folder: Path) -> None:
    """A folder alone does not count."""
    record = folder / "checkpoints" / "checkpoint_manager_snapshot.json"
    wait_for(lambda: record.exists() and "step-" in record.read_text(), "recorded checkpoint")


def processes(title: str) -> list[psutil.Process]:
    """The processes of this test session's cluster whose title begins with `ray::` and `title`."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.cmdline()[:1] and child.cmdline()[0].startswith(f"ray::{title}"):
                found.append(child)
    return found


def train_workers() -> list[psutil.Process]:
    return processes("RayTrainWorker")


@contextmanager
def beside(disturb: Callable[[], Any]) -> Iterator[None]:
    """Do it in another thread while a run goes on; an error there is raised here."""
    with ThreadPoolExecutor(1) as pool:
        disturbed = pool.submit(disturb)
        yield
        disturbed.result(timeout=10)


def test_a_killed_driver_is_started_again(
    trained: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    """The whole job with its own cluster is killed; the same command continues."""
    folder = tmp_path / "run"
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(small_config(folder, train={"workers": 2})))
    command = [sys.executable, str(JOB), "--config", str(config)]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}

    job = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        wait_for_checkpoint(folder)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    assert not (folder / "model").exists()

    subprocess.run(command, env=environment, check=True, timeout=240)
    assert weights(folder) == weights(trained)
    steps = (folder / "metrics.jsonl").read_text().splitlines()
    assert len(steps) == 12


def test_a_killed_worker_is_replaced(
    trained: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    def kill() -> None:
        wait_for_checkpoint(tmp_path)
        train_workers()[-1].kill()

    with beside(kill):
        run(small_config(tmp_path, train={"workers": 2}))
    assert len(lines(tmp_path / "starts.jsonl")) == 2
    assert weights(tmp_path) == weights(trained)


def test_a_killed_data_task_is_done_again(
    trained: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    def kill() -> None:
        wait_for(lambda: processes("ReadBatches"), "data task")[0].kill()

    with beside(kill):
        run(small_config(tmp_path, train={"workers": 2}))
    assert len(lines(tmp_path / "starts.jsonl")) == 1
    assert weights(tmp_path) == weights(trained)


def test_a_kill_while_a_checkpoint_is_written(
    trained: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    """As soon as the second one's folder is there, all workers are killed."""

    def kill() -> None:
        first = tmp_path / "checkpoints" / "step-00000004"
        wait_for(first.exists, "first checkpoint")
        workers = train_workers()
        second = tmp_path / "checkpoints" / "step-00000008"
        while not second.exists():
            pass
        for worker in workers:
            worker.kill()

    with beside(kill):
        run(small_config(tmp_path, train={"workers": 2}))
    assert len(lines(tmp_path / "starts.jsonl")) == 2
    assert weights(tmp_path) == weights(trained)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one checkpoint, but not for two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def remount(disk: Path, options: str) -> bool:
    """Whether it could be done: a disk with a file open for writing is not made read-only."""
    command = ["mount", "-o", f"remount,{options}", str(disk)]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_cannot_be_written_for_a_while(
    trained: Path, small_config: MakeConfig, small_disk: Path
) -> None:
    """The workers that need it fail, some times over. Once it is back the run goes on; where Ray
    Train itself could not write, it has ended, and the same command goes on."""
    folder = small_disk / "run"
    assert remount(small_disk, "size=64m")

    def outage() -> None:
        wait_for_recorded_checkpoint(folder)
        workers = train_workers()
        wait_for(lambda: remount(small_disk, "ro"), "moment without an open file")
        wait_for(lambda: not any(worker.is_running() for worker in workers), "failed worker")
        time.sleep(5)
        assert remount(small_disk, "rw")

    config = small_config(folder, train={"workers": 2, "max_failures": 20})
    with beside(outage), suppress(RunError):
        run(config)
    run(config)
    assert len(lines(folder / "starts.jsonl")) > 1
    assert len(lines(folder / "metrics.jsonl")) == 12
    assert weights(folder) == weights(trained)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk(trained: Path, small_config: MakeConfig, small_disk: Path) -> None:
    """It leaves a torn checkpoint. Given room, the same command goes on, even where Ray Train's
    record of the checkpoints was torn, too."""
    folder = small_disk / "run"
    config = {"workers": 2, "max_failures": 0}
    with pytest.raises(RunError, match="No space left on device"):
        run(small_config(folder, train=config))
    sizes = [
        sum(file.stat().st_size for file in one.rglob("*"))
        for one in sorted((folder / "checkpoints").glob("step-*"))
    ]
    assert len(sizes) == 2
    assert sizes[1] < sizes[0]
    record = folder / "checkpoints" / "checkpoint_manager_snapshot.json"
    record.write_bytes(record.read_bytes()[:100])

    assert remount(small_disk, "size=64m")
    run(small_config(folder, train=config))
    assert [start["step"] for start in lines(folder / "starts.jsonl")] == [0, 4]
    assert weights(folder) == weights(trained)


@pytest.mark.parametrize(("zero_stage", "workers"), [(0, 3), (2, 1), (3, 3)])
def test_another_number_of_workers_goes_on_with_the_same_pairs(
    trained: Path, small_config: MakeConfig, tmp_path: Path, zero_stage: int, workers: int
) -> None:
    """Sums in another order: the same to within rounding, not bit for bit.

    A third worker's part of a later checkpoint, which a kill left there, is not mixed with it.
    """
    stage = {"zero_stage": zero_stage}
    left = tmp_path / "checkpoints" / "step-00000012" / "state" / "zero_pp_rank_2_optim_states.pt"

    def kill() -> None:
        wait_for_recorded_checkpoint(tmp_path)
        train_workers()[-1].kill()

    with pytest.raises(RunError), beside(kill):
        run(small_config(tmp_path, train={"workers": 2, "max_failures": 0, **stage}))
    left.parent.mkdir(parents=True)
    left.touch()
    run(small_config(tmp_path, train={"workers": workers, **stage}))
    assert not left.exists()
    first, second = lines(tmp_path / "starts.jsonl")
    assert (first["workers"], second["workers"]) == (2, workers)
    assert (first["step"], second["step"] % 4) == (0, 0)
    assert second["step"] > 0
    for line, undisturbed in zip(
        lines(tmp_path / "metrics.jsonl"), lines(trained / "metrics.jsonl"), strict=True
    ):
        assert line["source_loss"] == pytest.approx(undisturbed["source_loss"], abs=1e-5)
        assert line["lam"] == pytest.approx(undisturbed["lam"], abs=1e-4)
    for column in ("chosen", "rejected"):
        both = [pq.read_table(one / "scores.parquet")[column] for one in (tmp_path, trained)]
        assert both[0].to_pylist() == pytest.approx(both[1].to_pylist(), abs=1e-5)


def test_each_worker_keeps_its_own_average(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    """Where lam is of each worker's pairs, so is the momentum of the gradients behind it."""
    own = {"objective": {"scope": "rank", "momentum": 0.9}, "train": {"workers": 2}}

    def kill() -> None:
        wait_for_recorded_checkpoint(tmp_path / "killed")
        train_workers()[-1].kill()

    run(small_config(tmp_path / "undisturbed", **own))
    with beside(kill):
        run(small_config(tmp_path / "killed", **own))
    assert lines(tmp_path / "killed" / "starts.jsonl")[1]["step"] > 0
    assert weights(tmp_path / "killed") == weights(tmp_path / "undisturbed")


def test_lam_of_each_worker_needs_as_many(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    objective = {"scope": "rank"}
    (tmp_path / "config.yaml").write_text(
        dump_config(small_config(tmp_path, objective=objective, train={"workers": 2}))
    )
    with pytest.raises(RunError, match=r"holds a run with train\.workers=2, not 1"):
        run(small_config(tmp_path, objective=objective))


def test_a_stalled_worker_is_replaced(
    trained: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    """It is stopped, not killed: nothing tells Ray but that it does not answer."""
    stopped = []

    def stop() -> None:
        wait_for_checkpoint(tmp_path)
        stopped.append(train_workers()[-1])
        stopped[0].suspend()

    with beside(stop):
        run(small_config(tmp_path, train={"workers": 2, "stall_timeout": 20}))
    assert len(lines(tmp_path / "starts.jsonl")) == 2
    assert weights(tmp_path) == weights(trained)
    assert not stopped[0].is_running()
