"""The engine of a config. A new one is a module with `open_engine` and `record`, and a line here.

An engine's packages are imported in the process that samples: an environment that has vLLM need
not have what the others stand on.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from more_ray.config.sample import PolicyConfig, SamplingConfig
from more_ray.sample.engines.protocol import Engine, EngineRecord

MODULES = {
    "transformers": "more_ray.sample.engines.with_transformers",
    "openai": "more_ray.sample.engines.with_openai",
    "vllm": "more_ray.sample.engines.with_vllm",
}


def open_engine(policy: PolicyConfig, sampling: SamplingConfig, gpus: float) -> Engine:
    """The engine of `policy`, with its model loaded.

    Args:
        gpus: the share of a GPU that this process has; 0: it computes on the CPU.

    Raises:
        UserError: it cannot be made, and why.
    """
    return _module(policy).open_engine(policy, sampling, gpus)


def record(policy: PolicyConfig, gpus: float) -> EngineRecord:
    """What is kept with the samples; made where they are drawn, without the model.

    Raises:
        UserError: this process lacks what the engine needs.
    """
    return _module(policy).record(policy, gpus)


def _module(policy: PolicyConfig) -> Any:
    return import_module(MODULES[policy.engine])
