"""Rewards of answers, requested from the reward service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from more_ray.calibrate.populations import ByPopulation
from more_ray.data.messages import Message
from more_ray.errors import UserError
from more_ray.sample.selection import Score

LONGEST_WAIT = 5.0
"""Seconds between two tries, at most."""


def score_by_handle(
    handle: DeploymentHandle,
    prompt: Sequence[Message],
    responses: Sequence[str],
    deadline: float = 600.0,
) -> ByPopulation:
    """What every population thinks of any number of answers to a prompt.

    Asks again while the service is full or after a replica has died.

    Args:
        deadline: seconds after which it gives up.

    Raises:
        UserError: no answer before the deadline.
    """
    give_up, wait = time.monotonic() + deadline, 0.1
    while True:
        asked = handle.by_population.remote(prompt=list(prompt), responses=list(responses))
        try:
            return asked.result(timeout_s=max(0.0, give_up - time.monotonic()))
        except (BackPressureError, RayActorError, TimeoutError) as error:
            if time.monotonic() + wait > give_up:
                kind = type(error).__name__
                raise UserError(
                    f"reward: no answer from the service in {deadline:g} s ({kind})"
                ) from error
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def score_by_service(app: str) -> Score:
    """A function that asks the Serve application `app`, in any process of its cluster."""
    handle = serve.get_app_handle(app)

    return partial(score_by_handle, handle)
