"""What the driver does while workers train: it shows how far they are, and hands on evaluations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray

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
    """Follow a run until the block ends.

    Args:
        on_evaluation: told, in a thread of its own, of evaluations before the last step.
    """
    over = threading.Event()

    def follow() -> None:
        told = None
        while not over.wait(0.5):
            state: RunState = ray.get(run_log.state.remote())
            progress.show(state, steps)
            evaluation = state["evaluation"]
            if evaluation and evaluation["step"] not in (told, steps):
                told = evaluation["step"]
                on_evaluation(evaluation)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        progress.show(ray.get(run_log.state.remote()), steps)
