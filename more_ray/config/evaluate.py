"""Settings of an evaluation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from more_ray.config.base import Section, Seed
from more_ray.config.data import DataConfig
from more_ray.config.model import ModelConfig


class EvaluationConfig(Section):
    output_dir: str = "outputs/evaluation"
    """Where `eval.json` and `scores.parquet` go: a path, or any URI that pyarrow's filesystems
    open."""
    name: str | None = None
    """What to call the model; unset, the last part of `model.path` that is not `model`."""
    model: ModelConfig
    """The reward model: `model.path` is a run's `model` folder, or any sequence classifier in
    a folder or on the hub."""
    against: str | None = None
    """Folder of another evaluation or run on the same pairs: its `scores.parquet` is compared with
    this model's, pair by pair."""
    data: DataConfig = DataConfig()
    """The data whose test pairs are scored."""
    benchmark: list[str] = Field([])
    """Files of public test sets, as a list or a single one: RewardBench 2, RM-Bench, JudgeBench, or
    any pairs (LLMBar, HHH); paths or URIs, or `name=path`. Then pairs of `data` are scored only
    where `data.root`, `data.sources` or `data.simulator` is given."""
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
    seed: Seed = 0
    """Seed of the draws."""
    verbose: bool = False
    """Show the logs of Ray and the workers."""

    @property
    def scores_pairs(self) -> bool:
        """Whether test pairs of `data` are scored; without benchmarks they always are."""
        data = self.data
        given = data.root or data.sources or data.simulator.model_fields_set
        return bool(given) or not self.benchmark

    @field_validator("benchmark", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _pairs_to_compare(self) -> EvaluationConfig:
        if self.against and not self.scores_pairs:
            raise ValueError(
                "against: compares test pairs; give data.root or data.sources beside benchmark"
            )
        return self
