"""What the driver does while workers train: show their progress and pass on evaluations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import ray
from ray.exceptions import RayActorError

from more_ray.bars import RunProgress
from more_ray.metrics.evaluation import Evaluation
from more_ray.train.metrics_line import RunState


@contextmanager
def followed(
    run_log: ray.actor.ActorHandle,
    progress: RunProgress,
    steps: int,
    on_evaluation: Callable[[Evaluation], None],
) -> Iterator[None]:
    """Show a run's progress until the `with` block ends, or the run log is dead.

    Args:
        on_evaluation: called in a separate thread with each evaluation before the last step.
    """
    over = threading.Event()

    def follow() -> None:
        reported = None
        while not over.wait(0.5):
            try:
                state: RunState = ray.get(run_log.state.remote())
            except RayActorError:
                return
            progress.show(state, steps)
            evaluation = state["evaluation"]
            if evaluation and evaluation["step"] not in (reported, steps):
                reported = evaluation["step"]
                on_evaluation(evaluation)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(RayActorError):  # which would hide why the block failed
            progress.show(ray.get(run_log.state.remote()), steps)
