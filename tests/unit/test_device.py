from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from more_ray import storage
from more_ray.device import begun_on_gpu, made_apart
from more_ray.errors import UserError
from more_ray.run_folder import DEVICE


def begun(folder: Path, began: bool | None, wanted: bool | None, available: bool) -> bool:
    if began is not None:
        storage.write_json(str(folder / DEVICE), {"use_gpu": began})
    return begun_on_gpu(str(folder), "train.use_gpu", wanted, available)


@pytest.mark.parametrize("available", [True, False])
def test_at_the_first_start_what_is_available(tmp_path: Path, available: bool) -> None:
    assert begun(tmp_path, None, None, available) == available


@pytest.mark.parametrize("wanted", [None, False])
def test_on_cpus_it_stays_on_cpus(tmp_path: Path, wanted: bool | None) -> None:
    assert not begun(tmp_path, False, wanted, available=True)


@pytest.mark.parametrize("wanted", [None, True])
def test_on_gpus_it_stays_on_gpus(tmp_path: Path, wanted: bool | None) -> None:
    assert begun(tmp_path, True, wanted, available=True)


@pytest.mark.parametrize(
    ("began", "wanted", "available", "message"),
    [
        (True, False, True, "begun on GPUs; choose another folder"),
        (False, True, True, "begun on CPUs; choose another folder"),
        (True, None, False, "of which the cluster has too few; train.use_gpu=true waits for them"),
    ],
)
def test_it_does_not_go_on_elsewhere(
    tmp_path: Path, began: bool, wanted: bool | None, available: bool, message: str
) -> None:
    with pytest.raises(UserError, match=f"train.use_gpu: the work in {tmp_path} was .*{message}"):
        begun(tmp_path, began, wanted, available)


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def helpers_left() -> None:
    """In a new process: ends well where loading has helper threads and leaves none."""
    import torch

    torch.set_num_threads(4)
    x = torch.ones(2_000_000)
    before = threads()
    total, during = made_apart(lambda: (x.sum(), threads()))
    assert total == 2_000_000
    assert during >= before + 3
    until = time.monotonic() + 30
    while threads() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threads() == before


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads of Linux")
def test_a_model_that_was_made_apart_leaves_no_helpers() -> None:
    code = "import test_device; test_device.helpers_left()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


def test_what_was_made_apart_may_fail() -> None:
    with pytest.raises(ZeroDivisionError):
        made_apart(lambda: 1 // 0)
