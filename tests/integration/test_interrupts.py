"""Ctrl-C: a line, whatever the verb is at, and the same command goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from support import MakeConfig, job_command, wait_for, without_cluster

from more_ray.config.base import dump
from more_ray.train.checkpoint_record import steps_done

pytestmark = pytest.mark.integration
SAID = "stopped; the same command goes on with what is finished\n"
STEPS = 40


@pytest.fixture
def command(small_config: MakeConfig, tmp_path: Path) -> list[str]:
    train = {"max_steps": STEPS, "epochs": 100, "checkpoint_every": 2}
    file = tmp_path / "config.yaml"
    file.write_text(dump(small_config(tmp_path / "run", train=train)))
    return job_command("train_more", "--config", str(file))


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How it ends, and what it says of that."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=without_cluster(),
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("seconds", [0.1, 1])
def test_while_libraries_and_ray_start(command: list[str], seconds: float) -> None:
    process = started(command)
    wait_for(psutil.Process(process.pid).children, what="process of Ray")
    time.sleep(seconds)
    assert interrupted(process) == (130, SAID)


def test_in_training_which_then_goes_on(command: list[str], tmp_path: Path) -> None:
    process = started(command)
    wait_for(lambda: steps_done(str(tmp_path / "run")), what="checkpoint")
    assert interrupted(process) == (130, SAID)
    done = steps_done(str(tmp_path / "run"))
    assert 0 < done < STEPS
    again = subprocess.run(
        command, env=without_cluster(), capture_output=True, text=True, check=True, timeout=300
    )
    assert f"goes on after step {done} of {STEPS}" in again.stdout
