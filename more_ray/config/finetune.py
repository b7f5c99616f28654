"""Settings of a fine-tuning run: a run whose loss is (3)."""

from __future__ import annotations

from pydantic import field_validator

from more_ray.config.data import DataConfig
from more_ray.config.objective import ObjectiveConfig
from more_ray.config.run import RunConfig
from more_ray.config.train import TrainConfig
from more_ray.objective.losses import LOSSES


class FineTuneConfig(RunConfig):
    output_dir: str = "outputs/finetuned"
    """The run's folder: a path, or any URI that pyarrow's filesystems open."""
    data: DataConfig = DataConfig(resample=False)
    """What to learn from: records of a prompt with a response, or pairs, whose chosen answers."""
    objective: ObjectiveConfig = ObjectiveConfig(loss="sft", scheme="proportional")
    """What is minimised."""
    train: TrainConfig = TrainConfig(pairs_per_source=16, accumulation=4, eval_tokens=2_048)
    """Workers, batches, precision, checkpoints; the paper's batch has 64 answers."""

    @field_validator("objective")
    @classmethod
    def _learns_answers(cls, objective: ObjectiveConfig) -> ObjectiveConfig:
        if LOSSES[objective.loss].needs_pairs:
            allowed = " and ".join(name for name, loss in LOSSES.items() if not loss.needs_pairs)
            raise ValueError(f"loss: {allowed} is allowed; jobs/train_more.py has the others")
        return objective
