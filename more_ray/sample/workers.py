"""The workers that sample, on Ray Data.

Imported in the environment of the engine, which need not have all that the other workers have.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray

from more_ray.cluster import RETRIES, worker_options
from more_ray.config.sample import RejectionSamplingConfig
from more_ray.device import made_apart, use_threads
from more_ray.errors import UserError, last_line
from more_ray.sample.engines.protocol import EngineRecord
from more_ray.sample.engines.registry import open_engine, record
from more_ray.sample.schemas import SAMPLE_SCHEMA

ASKER_CPUS = 0.5
"""A worker that asks an endpoint waits most of the time."""
OF_VLLM = {
    # In this process: scheduled alike in every run, and no child without the actor's settings.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


VERSIONS = "import sys, ray, more_ray; print(ray.__version__, *sys.version_info[:2])"


class SampleBlock:
    """A Ray Data actor that holds an engine."""

    def __init__(self, config: RejectionSamplingConfig, gpus: float) -> None:
        use_threads(config.workers)
        self._engine = made_apart(lambda: open_engine(config.policy, config.sampling, gpus))

    def __call__(self, block: pa.Table) -> pa.Table:
        prompts = block.to_pylist()
        samples = self._engine.sample(
            [prompt["prompt"] for prompt in prompts], seeds=[prompt["row"] for prompt in prompts]
        )
        rows = [
            {**prompt, "sample": number, **asdict(sample)}
            for prompt, answers in zip(prompts, samples, strict=True)
            for number, sample in enumerate(answers)
        ]
        return pa.Table.from_pylist(rows, SAMPLE_SCHEMA)


def map_options(config: RejectionSamplingConfig, gpus: float) -> dict[str, Any]:
    """The options of `map_batches` with `SampleBlock`."""
    return {
        "fn_constructor_args": (config, gpus),
        "compute": _pool(config),
        "ray_remote_args_fn": lambda: RETRIES,
        **_process(config, gpus),
    }


def record_on_worker(config: RejectionSamplingConfig, gpus: float) -> EngineRecord:
    """The engine's record, made in a process as the workers will be.

    Raises:
        UserError: such a process cannot be had, or it lacks what the engine needs.
    """
    once = ray.remote(max_retries=0)
    with ray_errors():
        if config.policy.engine == "vllm" and config.policy.python:
            ray.get(once(check_python).options(**worker_options(0)).remote(config.policy.python))
        return ray.get(once(record).options(**_process(config, 0)).remote(config.policy, gpus))


def check_python(python: str) -> None:
    """Check that workers can run under another Python: Ray would start them again for ever.

    Raises:
        UserError: there is none, it lacks a package, or its versions are others.
    """
    allowed = (
        f"allowed: one with this package, Ray {ray.__version__} and Python "
        f"{sys.version_info.major}.{sys.version_info.minor}, as `make vllm` makes it"
    )
    try:
        done = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"policy.python: cannot run {python}: {error}; {allowed}") from error
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise UserError(f"policy.python: {python} cannot run workers: {said}; {allowed}")
    there = done.stdout.strip().rpartition("\n")[2]
    if there.split() != [ray.__version__, *map(str, sys.version_info[:2])]:
        raise UserError(f"policy.python: {python} has Ray and Python {there}; {allowed}")


@contextmanager
def ray_errors() -> Iterator[None]:
    """Raises UserError, in one line, for an error of Ray's."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise UserError(f"sampling failed: {_cause(error)}") from error


def _process(config: RejectionSamplingConfig, gpus: float) -> dict[str, Any]:
    """The options of a Ray task or actor that runs the engine."""
    options = worker_options(gpus)
    policy = config.policy
    if policy.engine == "openai":
        return options | {"num_cpus": ASKER_CPUS}
    if policy.engine == "vllm":
        variables = {**options["runtime_env"]["env_vars"], **OF_VLLM}
        if not gpus:
            # vLLM's kernels take this number, whatever torch has been told; Ray would say 1.
            variables["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // config.workers))
        python = {"py_executable": policy.python} if policy.python else {}
        options["runtime_env"] = {"env_vars": variables, **python}
    return options


def _pool(config: RejectionSamplingConfig) -> ray.data.ActorPoolStrategy:
    if config.policy.engine != "openai":
        return ray.data.ActorPoolStrategy(size=config.workers)
    # A single process, which keeps the pace and the number of requests of the whole run, with
    # enough blocks at a time that the last answers of one do not leave the endpoint idle.
    blocks = 1 + -(-config.policy.concurrency // config.sampling.batch_prompts)
    return ray.data.ActorPoolStrategy(
        size=1, max_concurrent_calls_per_actor=blocks, enable_true_multi_threading=True
    )


def _cause(error: BaseException) -> str:
    """The message of this package's own error, or of the last other one, from the report that Ray
    makes around it."""
    found = re.findall(r"^\s*([\w.]*Error): (.+)$", str(error), re.MULTILINE)
    own = [message for kind, message in found if kind.startswith("more_ray.")]
    others = [message for kind, message in found if not kind.startswith("ray.")]
    return [last_line(error), *others, *own][-1]
