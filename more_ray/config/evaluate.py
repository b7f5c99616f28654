"""Settings of an evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from more_ray.config.base import Section
from more_ray.config.data import DataConfig
from more_ray.config.model import ModelConfig


class EvaluationConfig(Section):
    output_dir: str = "outputs/evaluation"
    """Where `eval.json` and `scores.parquet` go: a path, or any URI that pyarrow's filesystems
    open."""
    name: str | None = None
    """What to call the model; unset, the last part of `model.path` that is not `model`."""
    model: ModelConfig
    """The reward model: `model.path` is a run's `model` folder, or any sequence classifier with one
    output in a folder or on the hub."""
    against: str | None = None
    """Folder of another evaluation or run on the same pairs: its `scores.parquet` is compared with
    this model's, pair by pair."""
    data: DataConfig = DataConfig()
    """The data whose test pairs are scored."""
    labels: Literal["hard", "soft"] = "hard"
    """hard: every pair has one label, and ties are left out. soft: where the share of votes for an
    answer is known, errors are errors to it, and only the accuracy leaves ties out."""
    bins: int = Field(10, ge=1)
    """Bins of the calibration errors (the paper: 10)."""
    resamples: int = Field(1_000, ge=100)
    """Draws of each bootstrap and permutation."""
    workers: int = Field(1, ge=1)
    """Processes that score, one device each."""
    use_gpu: bool | None = None
    """A GPU for each worker. Unset: when the cluster has enough."""
    batch_tokens: int | None = Field(None, ge=512)
    """Tokens of one scoring batch. Unset: 8,192, on a GPU 32,768."""
    seed: int = Field(0, ge=0)
    """Seed of the draws."""
    verbose: bool = False
    """Show the logs of Ray and the workers."""
