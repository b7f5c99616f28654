from __future__ import annotations

from pathlib import Path

import pytest
import torch

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.model import dtype
from more_ray.run_folder import DEVICE
from more_ray.train.precision import kept_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def config(folder: Path, wanted: str = "auto") -> RunConfig:
    return RunConfig.model_validate({"output_dir": str(folder), "train": {"precision": wanted}})


@pytest.mark.parametrize(
    ("hidden", "seconds", "expected"),
    [
        (576, {torch.bfloat16: 1, torch.float32: 4}, torch.bfloat16),
        (576, {torch.bfloat16: 3, torch.float32: 4}, torch.float32),
        (128, {torch.bfloat16: 1, torch.float32: 4}, torch.float32),
    ],
)
def test_auto_on_a_cpu_is_what_is_worth_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hidden: int,
    seconds: dict[torch.dtype, float],
    expected: torch.dtype,
) -> None:
    monkeypatch.setattr(dtype, "hidden_size", lambda model: hidden)
    monkeypatch.setattr(dtype, "_seconds", seconds.__getitem__)
    assert kept_dtype(config(tmp_path), CPU) is expected


def test_a_run_keeps_what_it_was_begun_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept_dtype(config(tmp_path), GPU) is torch.bfloat16
    begun_on = storage.read_json(str(tmp_path / DEVICE))
    assert begun_on == {"use_gpu": True, "precision": "bf16"}
    monkeypatch.setattr(dtype, "computes_bf16_fast", lambda: False)
    assert kept_dtype(config(tmp_path), CPU) is torch.bfloat16


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_a_precision_that_is_given(tmp_path: Path, wanted: str) -> None:
    assert kept_dtype(config(tmp_path, wanted), CPU) is dtype.DTYPES[wanted]


def test_the_measurement_takes_both_precisions() -> None:
    assert all(0 < dtype._seconds(one) < 10 for one in dtype.DTYPES.values())
