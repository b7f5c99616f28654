"""Rejection sampling on Ray Data: prompts -> samples -> scores -> the best of each prompt.

Prompts are processed in fixed blocks. A finished block is a file, so that after a kill only the
others are left to do. Seeds depend on a prompt's row alone, so that the rest gives the same samples
as without the kill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.compute as pc
import ray

from more_ray import storage
from more_ray.cluster import RETRIES, shared_gpus
from more_ray.config.sample import PolicyConfig, RejectionSamplingConfig, SelectConfig
from more_ray.data.formatting import render_prompt
from more_ray.data.rejects import Reason
from more_ray.device import begun_on_gpu
from more_ray.errors import DataError, ModelError, model_of_section
from more_ray.model.loading import check_model, check_reward_model
from more_ray.model.tokenizer import load_tokenizer
from more_ray.run_folder import DEVICE
from more_ray.sample.compared import compare_choices
from more_ray.sample.folder import SamplesFolder
from more_ray.sample.prompts import Prompt, read_prompts
from more_ray.sample.schemas import PROMPT_SCHEMA
from more_ray.sample.selection import Score, check_select, select, summarise
from more_ray.sample.workers import SampleBlock, map_options, ray_errors, record_on_worker

SCORER_CPUS = 0.5
"""A scorer waits for samples most of the time."""


def sample_and_select(
    config: RejectionSamplingConfig,
    make_score: Callable[[], Score],
    progress: Callable[[int, int, int], None] = lambda done, prompts, tokens: None,
) -> dict[str, Any]:
    """Write `samples.parquet` (all, in order) and `best.parquet` (one per prompt), or resume that.

    Args:
        make_score: makes the scoring function, in each process that scores.
        progress: called with the prompts done, all prompts, and the tokens sampled by this call.

    Returns:
        The content of `summary.json`.

    Raises:
        DataError, ModelError: the inputs cannot be used.
        UserError: the folder belongs to other samples, or sampling failed for good.
    """
    size = config.sampling.batch_prompts
    prompts = check_inputs(config)
    folder = SamplesFolder(storage.absolute(config.output_dir), size)
    folder.check(config, prompts)
    summary_path = storage.join(folder.path, "summary.json")
    if storage.exists(summary_path):
        progress(len(prompts), len(prompts), 0)
        return storage.read_json(summary_path)
    starts = [row for row in range(0, len(prompts), size) if not storage.exists(folder.part(row))]
    gpus = 0.0
    if config.samples_from:
        source = SamplesFolder(storage.absolute(config.samples_from), size)
        source.check_samples(config, prompts)
        engines = source.engines()
        waiting = [source.read_samples(row) for row in starts]
    else:
        gpus = _gpus(config, folder)
        engines = [record_on_worker(config, gpus)] if starts else []
        waiting = [_block(prompts[row : row + size], row) for row in starts]
    folder.claim(config, prompts)
    folder.note_engines(engines)
    done, tokens = len(prompts) - sum(len(prompts[row : row + size]) for row in starts), 0
    progress(done, len(prompts), tokens)
    for part in _run(config, folder, waiting, make_score, gpus):
        done, tokens = done + part["prompts"], tokens + part["tokens"]
        progress(done, len(prompts), tokens)
    samples = folder.collect(len(prompts), config.sampling.samples)
    summary = summarise(samples) | compare_choices(samples, config.select)
    summary["engines"] = folder.engines()
    storage.write_json(summary_path, summary)
    return summary


def check_inputs(config: RejectionSamplingConfig) -> list[Prompt]:
    """The prompts; raises DataError and ModelError for what would fail later, in a worker."""
    prompts = read_prompts(config.prompts, config.limit)
    with model_of_section("reward"):
        check_reward_model(config.reward)
    check_select(config)
    if config.policy.engine != "openai":
        with model_of_section("policy"):
            _check_policy(config, prompts)
    return prompts


def check_engine(policy: PolicyConfig) -> None:
    """Raises ModelError for a model that only transformers samples from."""
    made_here = policy.path == "tiny" or policy.path.endswith(".gguf") or policy.layers
    if policy.engine == "vllm" and made_here:
        raise ModelError(
            f"policy.path: vllm takes neither {policy.path} nor the first blocks of a model; "
            "allowed: a folder or hub name of a whole model in safetensors"
        )


def _check_policy(config: RejectionSamplingConfig, prompts: Sequence[Prompt]) -> None:
    policy, sampling = config.policy, config.sampling
    check_engine(policy)
    check_model(policy, sampling.max_prompt_tokens + sampling.max_new_tokens, policy=True)
    tokenizer = load_tokenizer(policy, sampling.max_prompt_tokens)
    for row, prompt in enumerate(prompts):
        try:
            render_prompt(tokenizer, prompt)
        except jinja2.TemplateError as error:
            reason = f"{Reason.TEMPLATE.value}: {error}"
            raise DataError(f"{config.prompts}, prompt {row}: {reason}") from error


def _block(prompts: Sequence[Prompt], first: int) -> pa.Table:
    rows = [{"row": row, "prompt": list(prompt)} for row, prompt in enumerate(prompts, first)]
    return pa.Table.from_pylist(rows, PROMPT_SCHEMA)


def _run(
    config: RejectionSamplingConfig,
    folder: SamplesFolder,
    blocks: list[pa.Table],
    make_score: Callable[[], Score],
    gpus: float,
) -> Iterator[dict[str, int]]:
    """Sample, score and write blocks; yields the number of prompts and tokens of each."""
    if not blocks:
        return
    whole = {"batch_size": None, "batch_format": "pyarrow"}
    samples = ray.data.from_arrow(blocks)
    if not config.samples_from:
        samples = samples.map_batches(SampleBlock, **map_options(config, gpus), **whole)
    written = samples.map_batches(
        SelectAndWrite,
        fn_constructor_args=(folder, make_score, config.select),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.workers),
        num_cpus=SCORER_CPUS,
        ray_remote_args_fn=lambda: RETRIES,
        **whole,
    )
    with ray_errors():
        yield from written.iter_rows()


def _gpus(config: RejectionSamplingConfig, folder: SamplesFolder) -> float:
    """GPUs of each sampling worker, or 0: a run keeps its device, as others draw other samples."""
    if config.policy.engine == "openai":
        return 0
    available = shared_gpus(config.use_gpu, config.workers) > 0
    use_gpu = begun_on_gpu(folder.path, "use_gpu", config.use_gpu, available)
    storage.write_json(storage.join(folder.path, DEVICE), {"use_gpu": use_gpu})
    return shared_gpus(use_gpu, config.workers)


class SelectAndWrite:
    """A Ray Data actor that scores a block, selects from it and writes it."""

    def __init__(
        self, folder: SamplesFolder, make_score: Callable[[], Score], choice: SelectConfig
    ) -> None:
        self._folder, self._choice = folder, choice
        self._score = make_score()

    def __call__(self, samples: pa.Table) -> pa.Table:
        scored = select(samples, self._score, self._choice)
        self._folder.write_part(scored)
        prompts, tokens = len(scored["row"].unique()), pc.sum(scored["tokens"]).as_py()
        return pa.table({"prompts": [prompts], "tokens": [tokens]})
