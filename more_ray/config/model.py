"""Settings of a model: where it is, and how it is run."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import Field, JsonValue, NonNegativeInt, field_validator

from more_ray.config.base import Section


class LoraConfig(Section):
    rank: int = Field(16, ge=1)
    """Rank of the update matrices."""
    alpha: float = Field(32, gt=0)
    """Scale of the update: alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the update."""
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the linear layers that get an update."""


class ModelConfig(Section):
    path: str = "tiny"
    """Any causal LM: a folder, a hub name, a `.gguf` file, `package:NAME/FILE` for a file inside
    an installed Python package, or `tiny`: a small LLaMA with random weights whose tokenizer is
    made from the simulator's words. A PEFT adapter with a reward head is merged into its base
    model."""
    revision: str | None = None
    """Commit or tag on the hub."""
    layers: int | None = Field(None, ge=1)
    """Keep only the first N blocks."""
    lora: LoraConfig | None = None
    """Train low-rank updates and the score head instead of all weights."""
    trunk: Literal["trained", "frozen"] = "trained"
    """In training. frozen: only the reward heads are trained, on last hidden states that are
    computed once and kept; a step takes a few milliseconds."""
    source: str | None = None
    """Score by the head of this source, of a model whose run has several: one that
    `jobs/calibrate.py` made, or was trained with heads=shared+drift. Unset: by the shared head."""
    output: NonNegativeInt | Annotated[list[float], MinLen(1)] | None = None
    """Of a classifier with several outputs: the index of the one that is the reward, or a weight of
    each, whose sum is."""
    heads: Literal["shared", "shared+drift"] = "shared"
    """In training. shared: one reward head for everybody. shared+drift: each source's reward adds a
    drift of its own (4); `model/` gets the shared head, `heads.safetensors` all of them."""
    drift_decay: float = Field(0.1, ge=0)
    """Ridge a1 of the drifts, `a1/2 sum_i |d_i|^2`, in training with heads=shared+drift."""
    batch_format: Literal["auto", "packed", "padded"] = "auto"
    """packed: no padding, the shared prompt once. padded: two rows per pair. auto: packed where the
    model's architecture allows it."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model."""
    chat_template_kwargs: dict[Annotated[str, Field(pattern=r"^[a-zA-Z_]\w*$")], JsonValue] = Field(
        {}
    )
    """Variables of the chat template (`enable_thinking`, `date_string` ...). They are kept with the
    run and the exported template."""

    @field_validator("path")
    @classmethod
    def _with_the_home_written_out(cls, path: str) -> str:
        return os.path.expanduser(path)
