"""Settings of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from more_ray.config.base import MayChange, Section, Tree
from more_ray.config.data import DataConfig
from more_ray.config.model import ModelConfig
from more_ray.config.objective import OR_TORCHJD, ObjectiveConfig
from more_ray.config.train import OptimizerConfig, TrainConfig
from more_ray.objective.losses import LOSSES
from more_ray.objective.schemes import SCHEMES

WITHOUT_WEIGHTS = tuple(name for name, scheme in SCHEMES.items() if not scheme.takes_weights)
"""Schemes that need no `objective.weights`."""
if TYPE_CHECKING:  # a type checker cannot read the names out of the registry
    ComparedName = str
else:
    ComparedName = Literal[(*WITHOUT_WEIGHTS, "raw", "single", "averaging", "drift", "left_out")]
    ComparedName = Annotated[(ComparedName, *OR_TORCHJD)]


class LogConfig(Section):
    tensorboard: bool = False
    """Write TensorBoard events to `output_dir`/tensorboard (a local folder)."""
    mlflow: str | None = None
    """MLflow tracking URI to log to."""
    wandb: str | None = None
    """Weights & Biases project to log to (`WANDB_MODE=offline` needs no account)."""
    verbose: bool = False
    """Show the logs of Ray, DeepSpeed and the workers."""


class RunConfig(Section):
    output_dir: MayChange[str] = "outputs/more"
    """The run's folder: a path, or any URI that pyarrow's filesystems open."""
    init_from: MayChange[str | None] = None
    """Folder of a run whose model training starts from, instead of `model.path`: with
    `data.train_on=[NAME]` it specialises a shared model to one preference."""
    compare: MayChange[list[ComparedName]] = Field([])
    """Train and show these for comparison, in folders of `output_dir`: other schemes; raw, the
    untrained model; single, a model per source (the paper's Top); averaging, the mean of their
    rewards; drift, uniform weights with model.heads=shared+drift; left_out, each source by a model
    of the others."""
    data: DataConfig = DataConfig()
    """What to learn from."""
    model: ModelConfig = ModelConfig()
    """What is trained."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """What is minimised."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How it is minimised."""
    train: TrainConfig = TrainConfig()
    """Workers, batches, precision, checkpoints."""
    log: MayChange[LogConfig] = LogConfig()
    """Where metrics go besides `output_dir`."""

    def fixed(self) -> Tree:
        tree = super().fixed()
        if self.objective.scope == "rank":  # in the other scopes, lam does not depend on it
            tree["train"]["workers"] = self.train.workers
        return tree

    @model_validator(mode="after")
    def _lam_of_ranks_needs_the_same_ranks(self) -> RunConfig:
        if self.objective.scope == "rank" and self.train.min_workers:
            raise ValueError("train.min_workers: cannot be used with objective.scope=rank")
        return self

    @model_validator(mode="after")
    def _policies_train_all_weights_packed(self) -> RunConfig:
        loss = self.objective.loss
        if LOSSES[loss].trains_policy:
            if self.model.lora:
                raise ValueError(f"model.lora: cannot be used with objective.loss={loss}")
            if self.model.batch_format == "padded":
                raise ValueError(
                    f"model.batch_format: objective.loss={loss} allows auto and packed"
                )
        if "drift" in self.compare and loss != "ranking":
            raise ValueError(f"compare: objective.loss={loss} has no reward head for drift")
        if self.model.heads != "shared" and loss != "ranking":
            raise ValueError(
                f"model.heads: objective.loss={loss} has no reward head; allowed: shared"
            )
        if self.model.trunk == "frozen":
            self._only_heads_are_trained()
        if self.compare and not LOSSES[loss].needs_pairs:
            raise ValueError(f"compare: cannot be used with objective.loss={loss}")
        return self

    def _only_heads_are_trained(self) -> None:
        if self.objective.loss != "ranking":
            raise ValueError(
                f"model.trunk: objective.loss={self.objective.loss} trains a whole model; allowed: "
                "trained"
            )
        for key, given in (
            ("model.lora", self.model.lora),
            ("train.zero_stage", self.train.zero_stage),
            ("train.compile", self.train.compile),
            ("train.gradient_checkpointing", self.train.gradient_checkpointing),
            ("train.eval_every", self.train.eval_every),
            ("train.min_workers", self.train.min_workers),
            ("objective.scope=rank", self.objective.scope == "rank"),
        ):
            if given:
                raise ValueError(f"{key}: cannot be used with model.trunk=frozen")


class PairsRunConfig(RunConfig):
    """A run that learns from pairs, and is evaluated on them."""

    @field_validator("objective")
    @classmethod
    def _learns_pairs(cls, objective: ObjectiveConfig) -> ObjectiveConfig:
        if not LOSSES[objective.loss].needs_pairs:
            allowed = " and ".join(name for name, loss in LOSSES.items() if loss.needs_pairs)
            raise ValueError(
                f"loss: {allowed} are allowed; jobs/finetune.py is for {objective.loss}"
            )
        return objective
