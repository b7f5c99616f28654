"""Resumable checkpoints: DeepSpeed's state, reported through Ray Train."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import deepspeed
import ray.train
import torch.distributed as dist
from deepspeed.checkpoint import ds_to_universal

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.objective.weighting import Weighting
from more_ray.run_folder import CHECKPOINTS
from more_ray.train import checkpoint_record

TAG = "state"


def save(
    engine: deepspeed.DeepSpeedEngine, weighting: Weighting, done: int, config: RunConfig
) -> None:
    """Save after `done` micro-steps; every rank must call it.

    A checkpoint counts once Ray Train has written it into its record: a folder that a kill left
    in part is never loaded. Its files are on the disk before, for the case of a power cut.
    """
    name = f"step-{done:08d}"
    if engine.global_rank == 0:
        checkpoint_record.keep(config.output_dir)
        # Before anything is written: the parts that a kill left may be those of more workers.
        storage.remove(_stored(config.output_dir, name))
    weightings: list[Any] = [weighting.state_dict()]
    if config.objective.scope == "rank":  # otherwise only rank 0 solves, and has a state
        weightings = [None] * dist.get_world_size()
        dist.all_gather_object(weightings, weighting.state_dict())
    with _temporary(config.output_dir) as folder:
        engine.save_checkpoint(folder, TAG, client_state={"done": done, "weightings": weightings})
        ray.train.report(
            {"step": done},
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=name,
            checkpoint_upload_fn=partial(_upload, config.output_dir),
        )


def _upload(output_dir: str, saved: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
    """What Ray Train does by itself, and then what makes it last."""
    uploaded = ray.train.get_context().get_storage().persist_current_checkpoint(saved, name)
    storage.sync_copy(Path(saved.path), _stored(output_dir, name))
    return uploaded


def _stored(output_dir: str, name: str) -> str:
    return storage.join(output_dir, CHECKPOINTS, name)


@dataclass(frozen=True)
class Saved:
    """A checkpoint to go on from."""

    folder: str | None = None
    """None where the run begins."""
    universal: bool = False
    """In DeepSpeed's universal format, which any number of workers can load."""


@contextmanager
def newest(output_dir: str) -> Iterator[Saved]:
    """The newest checkpoint; every rank must enter.

    From ZeRO 1 on each worker saves its own part of the optimizer's state: another number of
    workers gets them put together.
    """
    if ray.train.get_context().get_local_rank() == 0:
        for left in Path(tempfile.gettempdir()).glob(f"{_prefix(output_dir)}*"):
            shutil.rmtree(left, ignore_errors=True)  # by workers that were killed
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        yield Saved()
        return
    with checkpoint.as_directory() as folder:
        parts = len(list(Path(folder, TAG).glob("*_optim_states.pt")))
        if parts in (0, dist.get_world_size()):
            yield Saved(folder)
        else:
            with _put_together(folder, output_dir) as whole:
                yield Saved(whole, universal=True)


@contextmanager
def _put_together(folder: str, output_dir: str) -> Iterator[str]:
    """A copy in the universal format, which the first worker of each node makes for all on it."""
    context = ray.train.get_context()
    node, first = context.get_node_rank(), context.get_local_rank() == 0
    with _temporary(output_dir) as own:
        makers: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(makers, (node, own) if first else None)
        whole = dict(filter(None, makers))[node]
        ready = Path(whole, "ready")
        if first:
            ds_to_universal.main(
                argparse.Namespace(
                    input_folder=f"{folder}/{TAG}",
                    output_folder=f"{whole}/{TAG}",
                    num_extract_workers=1,
                    num_merge_workers=1,
                    keep_temp_folder=False,
                    strict=True,
                    inject_missing_state=True,
                )
            )
            ready.touch()
        while not ready.exists():  # no collective: this may take longer than they wait
            time.sleep(0.5)
        yield whole
        dist.barrier()


def _temporary(output_dir: str) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=_prefix(output_dir))


def _prefix(output_dir: str) -> str:
    return f"more_ray-{storage.short_name(output_dir)}-"


def load(engine: deepspeed.DeepSpeedEngine, weighting: Weighting, saved: Saved) -> int:
    """Load what is saved; returns the micro-steps already done."""
    if saved.folder is None:
        return 0
    _, state = engine.load_checkpoint(saved.folder, TAG)
    if saved.universal:
        # DeepSpeed leaves the counters on the CPU, and at ZeRO 3 one that all groups count up.
        for parameter, values in engine.basic_optimizer.state.items():
            values["step"] = values["step"].to(parameter.device).clone()
    if engine.global_rank < len(state["weightings"]):
        weighting.load_state_dict(state["weightings"][engine.global_rank])
    return state["done"]
