"""Settings of `align`, the chain from preferences to an aligned policy."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from more_ray.config.base import Section
from more_ray.config.finetune import FineTuneConfig
from more_ray.config.judge import Criterion, JudgeEndpoint
from more_ray.config.model import ModelConfig
from more_ray.config.run import WITHOUT_WEIGHTS, RunConfig
from more_ray.config.sample import PolicyConfig, Rule, SamplingConfig
from more_ray.objective.losses import LOSSES


class AlignConfig(Section):
    output_dir: str = "outputs/align"
    """Where samples, policies, answers, `align.json` and `report.html` go."""
    reward: RunConfig = RunConfig(output_dir="outputs/align/reward", compare=["proportional"])
    """The runs that train the reward models: one with `reward.objective.scheme`, and one with each
    scheme in `reward.compare`. Finished runs in `reward.output_dir` are reused."""
    policy: PolicyConfig = PolicyConfig()
    """The causal LM that is sampled from and fine-tuned; the policies that it becomes are sampled
    from by the same engine."""
    prompts: str
    """File of the prompts to sample the best answers for, as in `rejection_sampling.py`."""
    limit: int | None = Field(None, ge=1)
    """Use only the first prompts of the file."""
    sampling: SamplingConfig = SamplingConfig()
    """How the policy answers."""
    choices: list[Rule] = Field(["shared"], min_length=1)
    """Whom the best answers are to please, as `select.by` in `rejection_sampling.py`. Each of these
    gives a policy for each reward model: `more`, `more-worst` ... All but shared need
    reward.model.heads=shared+drift."""
    finetune: FineTuneConfig = FineTuneConfig()
    """How the policy learns the best answers. The test answers of `finetune.data.sources` are what
    perplexity is measured on (without them those of all sources in `finetune.data.root`); `model`
    and `output_dir` are set by the chain."""
    eval_prompts: str
    """File of the prompts that the policies are compared on."""
    eval_limit: int | None = Field(None, ge=1)
    """Use only the first prompts of that file."""
    eval_samples: int = Field(2, ge=1)
    """Answers of each policy to each of these prompts; the judge reads the first."""
    gold: ModelConfig | None = None
    """A reward model that learnt from other pairs and chooses nothing: it says whose answers it
    prefers (a Table 1 that needs no judge), and what the best of n is worth to it."""
    judge: JudgeEndpoint | None = None
    """Who judges the policies' answers; unset: nobody."""
    criteria: tuple[Criterion, ...] = Field(("helpful", "harmless"), min_length=1)
    """What is judged."""

    @field_validator("policy")
    @classmethod
    def _is_here(cls, policy: PolicyConfig) -> PolicyConfig:
        if policy.engine == "openai":
            raise ValueError(
                "policy.engine: got openai, allowed: transformers | vllm; no endpoint serves the "
                "policies that are made here"
            )
        return policy

    @field_validator("finetune")
    @classmethod
    def _begins_with_the_policy(cls, finetune: FineTuneConfig) -> FineTuneConfig:
        if finetune.init_from:
            raise ValueError(
                "finetune.init_from: not allowed; policy.path is what learns the best answers"
            )
        return finetune

    @field_validator("reward")
    @classmethod
    def _each_has_a_model(cls, reward: RunConfig) -> RunConfig:
        if {"single", "averaging", "left_out"} & set(reward.compare):
            allowed = ", ".join(WITHOUT_WEIGHTS)
            raise ValueError(f"reward.compare: {allowed}, drift and raw are allowed here")
        if LOSSES[reward.objective.loss].trains_policy:
            allowed = ", ".join(name for name, loss in LOSSES.items() if not loss.trains_policy)
            raise ValueError(f"reward.objective.loss: {allowed} is allowed here")
        return reward

    @model_validator(mode="after")
    def _populations_have_heads(self) -> AlignConfig:
        for by in self.choices:
            if by != "shared" and self.reward.model.heads == "shared":
                raise ValueError(
                    f"choices: {by} needs reward.model.heads=shared+drift; with "
                    "reward.model.heads=shared allowed: shared"
                )
        return self
