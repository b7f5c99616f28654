"""Processes that are killed: the run goes on and ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from more_ray.cli import dump_config
from more_ray.config import RunConfig
from more_ray.train.run import run

pytestmark = pytest.mark.integration
MakeConfig = Callable[..., RunConfig]
JOB = Path(__file__).parents[2] / "jobs" / "train_more.py"


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def wait_for_checkpoint(folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not list((folder / "checkpoints").glob("step-*/latest")):
        assert time.monotonic() < deadline, "no checkpoint within two minutes"
        time.sleep(0.05)


def train_workers() -> list[psutil.Process]:
    """The training workers of this test session's cluster."""
    alive = [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]
    return [child for child in alive if child.cmdline()[:1] == ["ray::RayTrainWorker"]]


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
    folder = tmp_path / "run"
    killed = []

    def kill_a_worker() -> None:
        wait_for_checkpoint(folder)
        worker = train_workers()[-1]
        worker.kill()
        killed.append(worker.pid)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    run(small_config(folder, train={"workers": 2}))
    killer.join()
    assert killed
    assert weights(folder) == weights(trained)
