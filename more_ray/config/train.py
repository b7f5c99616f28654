"""Settings of training: optimizer, workers, batches."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Lt
from pydantic import Field, model_validator

from more_ray.config.base import MayChange, Section, Seed

FEATURES = "~/.cache/more_ray/features"
Coefficient = Annotated[float, Ge(0), Lt(1)]


class OptimizerConfig(Section):
    lr: float = Field(1e-6, gt=0)
    """Peak learning rate of AdamW."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay after warm-up; linear and cosine end at zero."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Share of the steps spent on linear warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay."""
    betas: tuple[Coefficient, Coefficient] = (0.9, 0.999)
    """AdamW's averaging coefficients."""
    clip: float = Field(1.0, ge=0)
    """Largest norm of the whole gradient; 0 turns clipping off."""


class TrainConfig(Section):
    workers: MayChange[int] = Field(1, ge=1)
    """Ray Train workers, one device each."""
    min_workers: MayChange[int | None] = Field(None, ge=1)
    """Start, or go on after the loss of a node, with as few as this where the cluster has no room
    for `workers`. Unset: wait for all."""
    grow_after: MayChange[float] = Field(600, gt=0)
    """With `min_workers`: seconds after which, if there is room for more workers, the run restarts
    with them from the last checkpoint; the steps since then are repeated."""
    use_gpu: MayChange[bool | None] = None
    """A GPU for each worker. Unset: when the cluster has enough. A resumed run
    keeps the kind of device that it began on."""
    pairs_per_source: int = Field(16, ge=1)
    """B: pairs of each source in a global micro-batch, over all workers (the paper: 16)."""
    accumulation: int = Field(1, ge=1)
    """Micro-batches per optimizer step; each has its own lam unless objective.scope=batch."""
    epochs: int = Field(1, ge=1)
    """Passes over the largest source (resample) or over all pairs."""
    max_steps: int | None = Field(None, ge=0)
    """Stop after this many micro-batches; 0 evaluates the untrained model."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on a GPU, and on a CPU that a short measurement finds much faster in it, else
    fp32. A resumed run keeps its precision."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO stage."""
    offload: bool = False
    """Keep optimizer state (and at stage 3 parameters) in CPU memory."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about 1.3 times the work."""
    compile: bool = False
    """Compile the model's blocks with torch.compile, which needs a C++ compiler on CPUs and Triton
    on GPUs."""
    eval_every: MayChange[int | None] = Field(None, ge=1)
    """Evaluate every N micro-batches, not only at the end."""
    checkpoint_every: MayChange[int | None] = Field(None, ge=1)
    """Save a resumable checkpoint every N micro-batches. Unset: about ten in a run."""
    keep_checkpoints: MayChange[int] = Field(2, ge=1)
    """Newest checkpoints to keep."""
    max_failures: MayChange[int] = Field(3, ge=0)
    """Restarts of the workers from the last checkpoint after a failure; the announced loss of a
    node does not count."""
    stall_timeout: MayChange[int] = Field(1_800, ge=1)
    """Seconds that a worker may be silent or keep the others waiting before all restart from the
    last checkpoint; this counts as a failure."""
    max_skipped: MayChange[int] = Field(10, ge=1)
    """An optimizer step whose loss or gradient is not finite is skipped; after this many in a row
    the run stops."""
    eval_tokens: MayChange[int | None] = Field(None, ge=512)
    """Most tokens of a scoring batch in evaluation. Unset: 8,192, on a GPU 32,768."""
    features: MayChange[str] = FEATURES
    """Folder (path or URI, shared by all nodes) of last hidden states, for model.trunk=frozen."""
    threads: MayChange[int | None] = Field(None, ge=1)
    """CPU threads of a worker. Unset: the node's cores are shared out."""
    seed: Seed = 0
    """Seed of the score head, the order of the pairs and dropout."""

    @model_validator(mode="after")
    def _cadence_is_whole_optimizer_steps(self) -> TrainConfig:
        for key in ("checkpoint_every", "eval_every"):
            if (getattr(self, key) or 0) % self.accumulation:
                raise ValueError(f"train.{key}: a multiple of train.accumulation is allowed")
        if (self.min_workers or 1) > self.workers:
            raise ValueError("train.min_workers: at most train.workers is allowed")
        if self.compile and self.zero_stage == 3:
            raise ValueError("train.compile: needs train.zero_stage 0, 1 or 2")
        if self.compile and self.gradient_checkpointing:
            raise ValueError("train.compile: cannot be used with train.gradient_checkpointing")
        if self.offload and self.zero_stage == 0:
            raise ValueError("train.offload: needs train.zero_stage 1, 2 or 3")
        return self
