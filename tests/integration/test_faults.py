"""Processes that are killed: the run goes on and ends with the same weights, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import MakeConfig, metrics, processes, starts, wait_for, weights

from more_ray.config.base import dump
from more_ray.errors import UserError
from more_ray.train.checkpoint_record import steps_done
from more_ray.train.run import run

pytestmark = pytest.mark.integration


@contextmanager
def beside(disturb: Callable[[], Any]) -> Iterator[None]:
    """Do it in another thread while a run goes on; an error there is raised here."""
    with ThreadPoolExecutor(1) as pool:
        disturbed = pool.submit(disturb)
        yield
        disturbed.result(timeout=10)


def test_killed_processes(trained: Path, small_config: MakeConfig, tmp_path: Path) -> None:
    """A data task, a worker, and all workers while they write a checkpoint: each is killed once
    the run has gone on after the one before."""

    def kill_a_data_task() -> None:
        wait_for(lambda: processes("ray::ReadBatches"), what="data task")[0].kill()

    def kill_a_worker() -> None:
        # A folder alone does not count.
        wait_for(lambda: steps_done(str(tmp_path)), what="recorded checkpoint")
        processes("ray::RayTrainWorker")[-1].kill()

    def kill_all_while_they_write() -> None:
        wait_for(lambda: len(starts(tmp_path)) == 2, what="second start")
        workers = processes("ray::RayTrainWorker")
        began = (tmp_path / "starts.jsonl").stat().st_mtime_ns
        checkpoint = tmp_path / "checkpoints" / f"step-{starts(tmp_path)[1]['step'] + 4:08d}"

        def being_written() -> bool:  # the worker killed before may have left one, too
            return checkpoint.exists() and checkpoint.stat().st_mtime_ns > began

        wait_for(being_written, what="further checkpoint", every=0.002)
        for worker in workers:
            worker.kill()

    def disturb() -> None:
        kill_a_data_task()
        kill_a_worker()
        kill_all_while_they_write()

    with beside(disturb):
        run(small_config(tmp_path, train={"workers": 2}))
    first, second, third = starts(tmp_path)  # none for the data task
    assert (first["step"], first["steps_again"]) == (0, 0)
    assert (second["step"] % 4, third["step"] % 4) == (0, 0)
    assert 0 < second["step"] <= third["step"]
    # Those since the newest checkpoint, at least those that the one being written would have held.
    assert third["step"] + third["steps_again"] >= second["step"] + 4
    assert [line["step"] for line in metrics(tmp_path)] == list(range(12))
    assert weights(tmp_path) == weights(trained)


def test_lam_of_each_worker_needs_as_many(small_config: MakeConfig, tmp_path: Path) -> None:
    objective = {"scope": "rank"}
    (tmp_path / "config.yaml").write_text(
        dump(small_config(tmp_path, objective=objective, train={"workers": 2}))
    )
    with pytest.raises(UserError, match=r"holds a run with train\.workers=2, not 1"):
        run(small_config(tmp_path, objective=objective))
