"""Resumable checkpoints: DeepSpeed's state, reported through Ray Train."""

from __future__ import annotations

import json
import tempfile
from typing import Any

import deepspeed
import ray.train

from more_ray import storage
from more_ray.objective.weighting import Weighting

TAG = "state"
FOLDER = "checkpoints"
"""Below a run's folder: where Ray Train keeps checkpoints and its own records."""


def save(engine: deepspeed.DeepSpeedEngine, weighting: Weighting, done: int) -> None:
    """Save after `done` micro-steps; every rank must call it."""
    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(
            folder, TAG, client_state={"done": done, "weighting": weighting.state_dict()}
        )
        ray.train.report(
            {"step": done},
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=f"step-{done:08d}",
        )


def load(engine: deepspeed.DeepSpeedEngine, weighting: Weighting) -> int:
    """Load the newest checkpoint where there is one; returns the micro-steps already done."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        _, state = engine.load_checkpoint(folder, TAG)
    weighting.load_state_dict(state["weighting"])
    return state["done"]


def steps_done(output_dir: str) -> int:
    """The micro-steps in the newest checkpoint that Ray Train has registered.

    A folder that is on disk but not yet registered does not count: workers would not get it.
    """
    snapshot = storage.join(output_dir, FOLDER, "checkpoint_manager_snapshot.json")
    if not storage.exists(snapshot):
        return 0
    # An internal file of Ray 2.60, hence the pin; workers check every batch against it.
    state: dict[str, Any] = json.loads(storage.read_text(snapshot))
    newest = state["latest_checkpoint_result"]
    return int(newest["checkpoint_dir_name"].removeprefix("step-")) if newest else 0
