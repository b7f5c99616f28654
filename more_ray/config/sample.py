"""Settings of sampling, and of keeping the best answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from more_ray.config.base import MayChange, Section
from more_ray.config.model import ModelConfig

OF_SOURCE = "source="
RULES = ("shared", f"{OF_SOURCE}NAME", "worst", "mean", "nash")


def _is_rule(by: str) -> str:
    named = by.startswith(OF_SOURCE) and by != OF_SOURCE
    if named or by in RULES:
        return by
    raise ValueError(f"got {by!r}, allowed: {', '.join(RULES)}")


Rule = Annotated[str, AfterValidator(_is_rule)]
"""Whom the choice among answers is to please."""


class SelectConfig(Section):
    by: Rule = "shared"
    """Whom the best answer is to please, by a model with several heads. shared: everybody, by the
    model's own score. source=NAME: one source. worst: the source that it pleases least. mean: all
    sources alike. nash: all at once; the product of their gains is largest. A gain is a reward less
    its mean over the prompt's answers."""
    caution: float = Field(0.0, ge=0)
    """Posterior standard deviations to subtract from each reward before choosing: how unsure a head
    is of an answer, against the mean of the prompt's answers. Needs a calibrated model."""


class SamplingConfig(Section):
    samples: int = Field(4, ge=1)
    """S: answers to each prompt."""
    max_new_tokens: int = Field(128, ge=1)
    """Tokens after which an answer is cut off."""
    max_prompt_tokens: int = Field(384, ge=8)
    """Tokens of a prompt; longer ones lose their beginning."""
    temperature: float = Field(1.0, gt=0)
    """What the logits are divided by; 1 is the policy's own distribution."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Draw from the fewest tokens whose probabilities add up to this."""
    stop: list[str] = Field(["\n\nHuman:"])
    """Texts that end an answer and are cut from it, besides the tokenizer's EOS."""
    batch_prompts: int = Field(8, ge=1)
    """Prompts that are sampled together, S rows each."""
    seed: int = Field(0, ge=0)
    """Seed of the draws."""


class RejectionSamplingConfig(Section):
    output_dir: MayChange[str] = "outputs/rejection_sampling"
    """Where `samples.parquet`, `best.parquet` and `report.html` go: a path, or any URI that
    pyarrow's filesystems open."""
    prompts: str
    """Path or URI of a .parquet, .jsonl, .jsonl.gz, .json or .csv file with a column `prompt`: an
    instruction, a transcript "Human: ... Assistant:", or a list of messages."""
    limit: int | None = Field(None, ge=1)
    """Use only the first prompts of the file."""
    policy: ModelConfig = ModelConfig()
    """The causal LM that answers."""
    sampling: SamplingConfig = SamplingConfig()
    """How it answers."""
    reward: ModelConfig
    """The reward model: `reward.path` is a run's `model` folder, or any sequence classifier in a
    folder or on the hub."""
    select: SelectConfig = SelectConfig()
    """Which answer of each prompt is kept."""
    samples_from: str | None = None
    """Folder of an earlier sampling, whose answers are scored instead of new ones: the
    same prompts, policy and `sampling`, another reward model or `select`."""
    workers: MayChange[int] = Field(1, ge=1)
    """Processes that sample."""
    use_gpu: MayChange[bool | None] = None
    """A GPU, or half of one, for each worker and for the reward model; the policy samples in bf16
    there. Unset: when the cluster has enough."""
    verbose: MayChange[bool] = False
    """Show the logs of Ray and the workers."""

    @model_validator(mode="after")
    def _one_way_to_name_a_source(self) -> RejectionSamplingConfig:
        if self.reward.source and self.select != SelectConfig():
            raise ValueError(
                f"reward.source: {self.reward.source} given, with select.by={self.select.by} and "
                f"select.caution={self.select.caution:g}; allowed: either reward.source or select"
            )
        return self
