"""Ray Train's record of a run's checkpoints: a checkpoint counts once it is in the record.

Separate from `checkpoint`, so that a process which makes batches need not import DeepSpeed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, cast

import ray.train

from more_ray import storage
from more_ray.run_folder import CHECKPOINTS


def steps_done(output_dir: str) -> int:
    """The micro-steps in the newest checkpoint that Ray Train has registered.

    A folder that is on disk but not yet registered does not count: workers would not get it.
    """
    state = _read(_record(output_dir))
    newest = state and state["latest_checkpoint_result"]
    return int(newest["checkpoint_dir_name"].removeprefix("step-")) if newest else 0


def mend(output_dir: str) -> None:
    """Repair the record so that Ray Train accepts it.

    Where a kill or a full disk left it incomplete, the previous version is restored. Checkpoints
    that have been removed since are taken out; training resumes from the newest that is left.
    """
    record = _record(output_dir)
    state = _read(record)
    if state is None:
        storage.remove(record)
        return
    results, indices = state["checkpoint_results"], state["checkpoint_report_indices"]
    existing = [
        (result, index)
        for result, index in zip(results, indices, strict=True)
        if storage.exists(storage.join(output_dir, CHECKPOINTS, result["checkpoint_dir_name"]))
    ]
    if len(existing) < len(results):
        state["checkpoint_results"] = [result for result, _ in existing]
        state["checkpoint_report_indices"] = [index for _, index in existing]
        state["latest_checkpoint_result"] = existing[-1][0] if existing else None
    storage.write_json(record, state)


def keep(output_dir: str) -> None:
    """Copy the record before Ray Train changes it."""
    ray.train.get_all_reported_checkpoints()  # waits until the last change is written
    record = _record(output_dir)
    if storage.exists(record):
        storage.write_text(_kept(record), storage.read_text(record))


def _read(record: str) -> dict[str, Any] | None:
    """The record; the version before where it is incomplete, since Ray Train overwrites it in
    place. None if there is none."""
    for version in (record, _kept(record)) if storage.exists(record) else ():
        with suppress(json.JSONDecodeError, FileNotFoundError):
            return cast(dict[str, Any], storage.read_json(version))
    return None


def _record(output_dir: str) -> str:
    # An internal file of Ray 2.60, hence the pin; workers check every batch against it.
    return storage.join(output_dir, CHECKPOINTS, "checkpoint_manager_snapshot.json")


def _kept(record: str) -> str:
    return f"{record}.kept"
