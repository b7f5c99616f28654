from __future__ import annotations

from pathlib import Path

import pytest

from more_ray import storage
from more_ray.device import begun_on_gpu
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
