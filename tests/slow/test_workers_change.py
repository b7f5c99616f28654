"""Workers that are lost: others go on, also where there are more or fewer of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.numpy import load_file
from support import MakeConfig, metrics, processes, scores, starts, wait_for, weights

from more_ray.errors import UserError
from more_ray.run_folder import HEADS
from more_ray.train.checkpoint_record import steps_done
from more_ray.train.job import Job
from more_ray.train.run import run
from more_ray.train.start import train_loop

pytestmark = pytest.mark.integration


@contextmanager
def once_there_is_a_checkpoint(
    folder: Path, disturb: Callable[[psutil.Process], Any]
) -> Iterator[None]:
    """What is done to the last worker of the run that goes on meanwhile."""

    def wait_and_disturb() -> None:
        wait_for(lambda: steps_done(str(folder)), what="recorded checkpoint")
        disturb(processes("ray::RayTrainWorker")[-1])

    with ThreadPoolExecutor(1) as pool:
        disturbed = pool.submit(wait_and_disturb)
        yield
        disturbed.result(timeout=10)


@pytest.mark.parametrize(("zero_stage", "workers"), [(0, 3), (2, 1), (3, 3)])
def test_another_number_of_workers_goes_on_with_the_same_pairs(
    trained: Path, small_config: MakeConfig, tmp_path: Path, zero_stage: int, workers: int
) -> None:
    """Sums in another order: the same to within rounding, not bit for bit.

    A third worker's part of a later checkpoint, which a kill left there, is not mixed with it.
    """
    stage = {"zero_stage": zero_stage}
    left = tmp_path / "checkpoints" / "step-00000012" / "state" / "zero_pp_rank_2_optim_states.pt"

    with (
        pytest.raises(UserError),
        once_there_is_a_checkpoint(tmp_path, psutil.Process.kill),
    ):
        run(small_config(tmp_path, train={"workers": 2, "max_failures": 0, **stage}))
    left.parent.mkdir(parents=True)
    left.touch()
    run(small_config(tmp_path, train={"workers": workers, **stage}))
    assert not left.exists()
    first, second = starts(tmp_path)
    assert (first["workers"], second["workers"]) == (2, workers)
    assert (first["step"], second["step"] % 4) == (0, 0)
    assert second["step"] > 0
    for line, undisturbed in zip(metrics(tmp_path), metrics(trained), strict=True):
        assert line["source_loss"] == pytest.approx(undisturbed["source_loss"], abs=1e-5)
        assert line["lam"] == pytest.approx(undisturbed["lam"], abs=1e-4)
    assert scores(tmp_path) == pytest.approx(scores(trained), abs=1e-5)


def test_another_number_of_workers_goes_on_with_the_same_drifts(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    """Their own decay, too, with the weights and the optimizer's state in parts."""
    model = {"heads": "shared+drift", "drift_decay": 1.0}
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"

    def train(folder: Path, workers: int, **settings: int) -> None:
        settings |= {"workers": workers, "zero_stage": 3}
        run(small_config(folder, model=model, train=settings))

    train(undisturbed, workers=2)
    with pytest.raises(UserError), once_there_is_a_checkpoint(killed, psutil.Process.kill):
        train(killed, workers=2, max_failures=0)
    train(killed, workers=3)
    _, second = starts(killed)
    assert second["step"] > 0
    drift, expected = (load_file(folder / HEADS)["drift"] for folder in (killed, undisturbed))
    assert drift == pytest.approx(expected, abs=1e-5)
    assert abs(drift).max() > 1e-3
    assert scores(killed) == pytest.approx(scores(undisturbed), abs=1e-5)


def test_a_stalled_worker_is_replaced_and_keeps_its_own_average(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    """It is stopped, not killed: nothing tells Ray but that it does not answer.

    Where lam is of each worker's pairs, so is the momentum of the gradients behind it.
    """
    own = {"scope": "rank", "momentum": 0.9}
    undisturbed, stalled = tmp_path / "undisturbed", tmp_path / "stalled"
    stopped = []

    def stop(worker: psutil.Process) -> None:
        stopped.append((worker, time.time()))
        worker.suspend()

    run(small_config(undisturbed, objective=own, train={"workers": 2}))
    with once_there_is_a_checkpoint(stalled, stop):
        # As long as a healthy worker of a busy machine might keep the others waiting.
        run(small_config(stalled, objective=own, train={"workers": 2, "stall_timeout": 20}))
    _, second = starts(stalled)
    assert second["step"] > 0
    assert weights(stalled) == weights(undisturbed)
    ((worker, when),) = stopped
    assert not worker.is_running()
    again = datetime.fromisoformat(second["time"]).timestamp()
    assert again - when < 120  # the 20 s, and a start on a busy machine


@pytest.mark.parametrize(("zero_stage", "call"), [(0, "backward"), (3, "forward")])
def test_a_worker_that_hangs_within_the_engine_is_replaced(
    cluster: None,
    small_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    zero_stage: int,
    call: str,
) -> None:
    """It answers, so only the others notice: those that wait in the engine's own collectives, for
    its gradients or its part of the weights."""
    hung = tmp_path / "hung"

    def hang_once(arguments: dict[str, Job]) -> None:
        import ray.train

        from more_ray.train import worker

        def make(*given: Any, make_engine: Any = worker.make_engine) -> Any:
            engine = make_engine(*given)
            do, calls = getattr(engine, call), iter(range(1_000))

            def hang_or_do(*values: Any) -> Any:
                if next(calls) == 6 and not hung.exists():
                    hung.touch()
                    time.sleep(1_000)
                return do(*values)

            if ray.train.get_context().get_world_rank() == 1:
                setattr(engine, call, hang_or_do)
            return engine

        worker.make_engine = make
        train_loop(arguments)

    monkeypatch.setattr("more_ray.train.run.train_loop", hang_once)
    settings = {"workers": 2, "zero_stage": zero_stage, "stall_timeout": 20}
    run(small_config(tmp_path, train=settings))
    _, second = starts(tmp_path)
    assert second["step"] == 4
    again = datetime.fromisoformat(second["time"]).timestamp()
    assert again - hung.stat().st_mtime < 120  # the 20 s, and a start on a busy machine
