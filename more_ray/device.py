"""The device of a process: its share of the cores, batches that fill it, and the kind of device
that work was started on."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from more_ray import storage
from more_ray.errors import UserError
from more_ray.run_folder import DEVICE

Made = TypeVar("Made")

SCORING_TOKENS = {"cpu": 8_192, "cuda": 32_768}
"""Tokens of a scoring batch, by device: fewer would not fill a GPU."""


def use_threads(processes: int, threads: int | None = None) -> None:
    """Let torch use `threads` CPU threads, or a fair share of the cores of this machine.

    Args:
        processes: number of processes that compute on this machine.
    """
    import torch

    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // processes))


def made_apart(make: Callable[[], Made]) -> Made:
    """What `make` returns, called in a thread that ends then.

    For a model that another thread runs than loads. OpenMP keeps helpers for every thread that has
    computed; once they are more than the cores, it lets all that wait sleep at once: 400 times in
    a forward pass of 60 ms, together a quarter of it.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def begun_on_gpu(folder: str, key: str, wanted: bool | None, available: bool) -> bool:
    """Whether work in `folder` uses GPUs: as when it was started; for new work, if `available`.

    Args:
        key: name of the setting `wanted`, for errors.

    Raises:
        UserError: it was started on another kind, or on GPUs that the cluster lacks.
    """
    file = storage.join(folder, DEVICE)
    if not storage.exists(file):
        return available
    began = storage.read_json(file)["use_gpu"]
    if wanted not in (None, began):
        kind = "GPUs" if began else "CPUs"
        raise UserError(
            f"{key}: the work in {folder} was begun on {kind}; choose another folder or "
            "delete this one"
        )
    if began and not available:
        raise UserError(
            f"{key}: the work in {folder} was begun on GPUs, of which the cluster has too few; "
            f"{key}=true waits for them"
        )
    return began
