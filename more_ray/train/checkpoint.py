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
DECAYS = ("weight_decay", "decoupled_weight_decay")
"""Options in which the groups of parameters differ."""


def save(
    engine: deepspeed.DeepSpeedEngine, weighting: Weighting, done: int, config: RunConfig
) -> None:
    """Save after `done` micro-steps; every rank must call it.

    A checkpoint counts once Ray Train has written it into its record, so a folder that a kill
    left incomplete is never loaded. Its files are synced to disk before that, which protects
    against power cuts.
    """
    name = f"step-{done:08d}"
    if engine.global_rank == 0:
        checkpoint_record.keep(config.output_dir)
        # First of all: a kill may have left the parts of a larger number of workers.
        storage.remove(_stored(config.output_dir, name))
    weightings: list[Any] = [weighting.state_dict()]
    if config.objective.scope == "rank":  # otherwise only rank 0 solves and has a state
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
    """Upload as Ray Train does by default, then wait until the files are on disk."""
    uploaded = ray.train.get_context().get_storage().persist_current_checkpoint(saved, name)
    storage.sync_copy(Path(saved.path), _stored(output_dir, name))
    return uploaded


def _stored(output_dir: str, name: str) -> str:
    return storage.join(output_dir, CHECKPOINTS, name)


@dataclass(frozen=True)
class Saved:
    """A checkpoint to resume from."""

    folder: str | None = None
    """None where the run starts from step 0."""
    universal: bool = False
    """Whether it is in DeepSpeed's universal format, which any number of workers can load."""


@contextmanager
def newest(output_dir: str) -> Iterator[Saved]:
    """The newest checkpoint; every rank must enter.

    From ZeRO 1 on, each worker saves its own part of the optimizer's state; for another number
    of workers the parts are merged.
    """
    if ray.train.get_context().get_local_rank() == 0:
        for leftover in Path(tempfile.gettempdir()).glob(f"{_prefix(output_dir)}*"):
            shutil.rmtree(leftover, ignore_errors=True)  # of killed workers
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        yield Saved()
        return
    with checkpoint.as_directory() as folder:
        parts = len(list(Path(folder, TAG).glob("*_optim_states.pt")))
        if parts in (0, dist.get_world_size()):
            yield Saved(folder)
        else:
            with _merged(folder, output_dir) as merged:
                yield Saved(merged, universal=True)


@contextmanager
def _merged(folder: str, output_dir: str) -> Iterator[str]:
    """A copy in the universal format, which the first worker of each node makes for the others."""
    context = ray.train.get_context()
    node, first = context.get_node_rank(), context.get_local_rank() == 0
    with _temporary(output_dir) as own_folder:
        makers: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(makers, (node, own_folder) if first else None)
        merged = dict(filter(None, makers))[node]
        ready = Path(merged, "ready")
        if first:
            ds_to_universal.main(
                argparse.Namespace(
                    input_folder=f"{folder}/{TAG}",
                    output_folder=f"{merged}/{TAG}",
                    num_extract_workers=1,
                    num_merge_workers=1,
                    keep_temp_folder=False,
                    strict=True,
                    inject_missing_state=True,
                )
            )
            ready.touch()
        while not ready.exists():  # not a collective: merging may take longer than its timeout
            time.sleep(0.5)
        yield merged
        dist.barrier()


def _temporary(output_dir: str) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=_prefix(output_dir))


def _prefix(output_dir: str) -> str:
    return f"more_ray-{storage.short_name(output_dir)}-"


def load(engine: deepspeed.DeepSpeedEngine, weighting: Weighting, saved: Saved) -> int:
    """Load a checkpoint; returns the number of micro-steps already done."""
    if saved.folder is None:
        return 0
    groups = engine.basic_optimizer.param_groups
    decays = [{name: group[name] for name in DECAYS} for group in groups]
    _, state = engine.load_checkpoint(saved.folder, TAG)
    if saved.universal:
        # At ZeRO 3 DeepSpeed gives all groups the options of the first.
        for group, decay in zip(engine.basic_optimizer.param_groups, decays, strict=True):
            group.update(decay)
        # DeepSpeed leaves the step counters on the CPU, and at ZeRO 3 all groups share one.
        for parameter, values in engine.basic_optimizer.state.items():
            values["step"] = values["step"].to(parameter.device).clone()
    if engine.global_rank < len(state["weightings"]):
        weighting.load_state_dict(state["weightings"][engine.global_rank])
    return state["done"]
