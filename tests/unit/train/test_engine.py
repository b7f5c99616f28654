from __future__ import annotations

import pytest
import torch

from more_ray.config import RunConfig
from more_ray.train.engine import deepspeed_config, learning_rate_factor


def rates(schedule: str, warmup: float) -> list[float]:
    return [learning_rate_factor(update, 10, warmup, schedule) for update in range(11)]


def test_schedules() -> None:
    assert rates("constant", 0) == [1] * 11
    assert rates("linear", 0) == pytest.approx([1 - update / 10 for update in range(11)])
    assert rates("linear", 0.2)[:3] == [0.5, 1, 1]
    cosine = rates("cosine", 0)
    assert (cosine[0], cosine[5], cosine[10]) == pytest.approx((1, 0.5, 0))


def test_no_compiled_optimizer_is_asked_for_when_offloading() -> None:
    config = RunConfig.model_validate({"train": {"zero_stage": 3, "offload": True}})
    settings = deepspeed_config(config, torch.bfloat16)
    assert settings["zero_force_ds_cpu_optimizer"] is False
    assert settings["zero_optimization"]["offload_param"] == {"device": "cpu"}
    assert settings["bf16"] == {"enabled": True}
