from __future__ import annotations

from more_ray.config import RunConfig
from more_ray.objective.losses import LOSSES
from more_ray.train.tasks import TASKS, task_of


def test_every_loss_has_a_task() -> None:
    assert TASKS.keys() == LOSSES.keys()
    config = RunConfig.model_validate({"objective": {"loss": "sft", "scheme": "uniform"}})
    assert task_of(config, ("one",)) == TASKS["sft"](config, ("one",))
