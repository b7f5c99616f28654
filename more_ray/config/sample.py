"""Settings of sampling, and of keeping the best answers."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import AfterValidator, Field, JsonValue, model_validator
from typing_extensions import Self

from more_ray.config.base import MayChange, Section, Seed
from more_ray.config.endpoint import RequestConfig
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


class PolicyConfig(RequestConfig, ModelConfig):
    engine: Literal["transformers", "openai", "vllm"] = "transformers"
    """What samples from the model at `path`. transformers: this package's workers, with any model
    that it loads. vllm: workers that each hold a vLLM; the faster choice with dtype=bfloat16, on a
    GPU or a CPU. openai: any endpoint with OpenAI's chat completions (vLLM, SGLang, TGI, llama.cpp,
    `transformers serve`, Ray Serve LLM), whose own model answers: `path` is not read, and
    `chat_template_kwargs` go with each request."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """The precision of transformers and vllm. auto: bfloat16 on a GPU, float32 on a CPU, where
    bfloat16 is faster with a processor that has instructions for it."""
    base_url: MayChange[str | list[str] | None] = None
    """With openai: the endpoint, such as `http://localhost:8000/v1`; of several, each gets a
    request in turn, and the next one where one fails after its `retries`."""
    name: str | None = None
    """With openai: the model, by the name that the endpoint knows it under."""
    api_key_env: MayChange[str | None] = None
    """With openai: the environment variable that holds the API key, on the node that asks. null:
    the endpoint needs no key."""
    python: MayChange[str | None] = None
    """With vllm: the Python of an environment that has vLLM, Ray and this package, on every node;
    `make vllm` makes `.venv-vllm/bin/python`. Unset: the Python of the other workers."""
    engine_args: dict[str, JsonValue] = Field({})
    """With vllm: further arguments of `vllm.LLM`, such as `quantization`. A worker has one GPU at
    most: serve a model that needs several, and use openai."""

    @model_validator(mode="after")
    def _has_an_endpoint(self) -> Self:
        if self.engine == "openai" and not (self.base_url and self.name):
            raise ValueError("policy.engine: openai needs policy.base_url and policy.name")
        return self

    def precision(self, on_gpu: bool) -> Literal["bfloat16", "float32"]:
        if self.dtype == "auto":
            return "bfloat16" if on_gpu else "float32"
        return self.dtype

    def at(self, path: str) -> Self:
        """The same engine with a whole model in a folder."""
        of_engine = type(self).model_fields.keys() - ModelConfig.model_fields.keys()
        return type(self)(path=path, **self.model_dump(include=of_engine))


class SamplingConfig(Section):
    samples: int = Field(4, ge=1)
    """S: answers to each prompt."""
    max_new_tokens: int = Field(128, ge=1)
    """Tokens after which an answer is cut off."""
    max_prompt_tokens: int = Field(384, ge=8)
    """Tokens of a prompt; longer ones lose their beginning. An endpoint gets prompts whole, and
    refuses those that are too long for its model."""
    temperature: float = Field(1.0, gt=0)
    """What the logits are divided by; 1 is the policy's own distribution."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Draw from the fewest tokens whose probabilities add up to this."""
    stop: list[Annotated[str, MinLen(1)]] = Field(["\n\nHuman:"])
    """Texts that end an answer and are cut from it, besides the tokenizer's EOS."""
    batch_prompts: int = Field(8, ge=1)
    """Prompts that are sampled together, S rows each."""
    seed: Seed = 0
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
    policy: PolicyConfig = PolicyConfig()
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
    """Processes that sample; one asks the endpoint where there is one."""
    use_gpu: MayChange[bool | None] = None
    """A GPU, or half of one, for each worker and for the reward model. Unset: when the cluster has
    enough."""
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
