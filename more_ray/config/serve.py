"""Settings of a reward service."""

from __future__ import annotations

from pydantic import Field, model_validator

from more_ray.config.base import Section
from more_ray.config.model import ModelConfig


class ServeConfig(Section):
    model: ModelConfig
    """The reward model: `model.path` is a run's `model` folder, or any sequence classifier in
    a folder or on the hub."""
    host: str = "127.0.0.1"
    """Address to listen on. On any but a loopback address, clients need a bearer token: the
    content of the environment variable MORE_RAY_TOKEN."""
    port: int = Field(8_000, ge=1, le=65_535)
    """Port to listen on."""
    min_replicas: int = Field(1, ge=1)
    """Copies of the model that always run, one device each."""
    max_replicas: int = Field(1, ge=1)
    """Most copies of the model, under load."""
    use_gpu: bool | None = None
    """A GPU for each replica. Unset: when the cluster has enough."""
    direct: bool | None = None
    """Answer from the replica itself, without Serve's proxy, which takes some milliseconds of each
    request. Unset: where a single replica (max_replicas=1) serves on one machine. While a killed
    replica starts again, it refuses connections; the proxy lets requests wait."""
    max_length: int | None = Field(None, ge=8)
    """Tokens of a prompt and its answer; longer ones lose their beginning. Unset: the limit
    that is saved with the model's tokenizer, with which it was trained."""
    batch_tokens: int | None = Field(None, ge=1)
    """Most tokens of one forward pass over several requests. Unset: 8,192, on a GPU
    32,768."""
    prompt_cache_mib: int = Field(512, ge=0)
    """Memory of a replica for prompts that come again with other answers, as from best-of-n
    clients that send one answer a request: what attention reads of them is kept and only the
    answers are computed. Once it is full, the prompts that were used longest ago go. 0: off."""
    request_tokens: int = Field(32_768, ge=1)
    """Most tokens of a request; longer requests are refused."""
    max_ongoing: int = Field(64, ge=1)
    """Requests that a replica takes at a time."""
    max_queued: int = Field(256, ge=0)
    """Requests that wait while all replicas are full; further requests are refused with 503."""
    timeout: float = Field(60.0, gt=0)
    """Seconds after which a request that is not answered ends with 408."""
    temperature: float | None = Field(None, gt=0)
    """What reward differences are divided by for calibrated preferences. Unset: fitted on the
    `scores.parquet` next to a run's `model` folder, or 1 without that file."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of a replica. Unset: the machine's cores are shared out."""
    verbose: bool = False
    """Show the logs of Ray and the replicas."""

    @model_validator(mode="after")
    def _more_under_load(self) -> ServeConfig:
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas: at least min_replicas is allowed")
        return self
