from __future__ import annotations

import pytest

from more_ray.config import PairsRunConfig
from more_ray.config.finetune import FineTuneConfig


def test_each_job_refuses_a_loss_that_it_cannot_evaluate() -> None:
    with pytest.raises(ValueError, match="sft is allowed"):
        FineTuneConfig.model_validate({"objective": {"loss": "dpo"}})
    with pytest.raises(ValueError, match=r"jobs/finetune\.py is for sft"):
        PairsRunConfig.model_validate({"objective": {"loss": "sft", "scheme": "uniform"}})
