"""Ray Train's record of a run's checkpoints: a checkpoint counts once it is in the record.

Separate from `checkpoint`, so that a process which makes batches need not import DeepSpeed.
"""

from __future__ import annotations

import json

import ray.train

from more_ray import storage
from more_ray.run_folder import CHECKPOINTS


def steps_done(output_dir: str) -> int:
    """The micro-steps in the newest checkpoint that Ray Train has registered.

    A folder that is on disk but not yet registered does not count: workers would not get it.
    """
    record = _record(output_dir)
    if not storage.exists(record):
        return 0
    newest = storage.read_json(record)["latest_checkpoint_result"]
    return int(newest["checkpoint_dir_name"].removeprefix("step-")) if newest else 0


def mend(output_dir: str) -> None:
    """Repair the record so that Ray Train accepts it.

    Ray Train overwrites it in place: where a kill or a full disk left it incomplete, the previous
    version is restored. Checkpoints that have been removed since are taken out; training resumes
    from the newest that is left.
    """
    record = _record(output_dir)
    if not storage.exists(record):
        return
    try:
        storage.read_json(record)
    except json.JSONDecodeError:
        if storage.exists(_kept(record)):
            storage.write_text(record, storage.read_text(_kept(record)))
        else:
            storage.remove(record)
            return
    state = storage.read_json(record)
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


def _record(output_dir: str) -> str:
    # An internal file of Ray 2.60, hence the pin; workers check every batch against it.
    return storage.join(output_dir, CHECKPOINTS, "checkpoint_manager_snapshot.json")


def _kept(record: str) -> str:
    return f"{record}.kept"
