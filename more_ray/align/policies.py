"""The measures of aligned policies, from the samples of each scored by each reward model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
import torch

from more_ray import storage
from more_ray.align.divergence import answer_divergence, pack_samples
from more_ray.align.measures import by_prompt, by_source, diversity
from more_ray.cluster import uses_gpu, worker_options
from more_ray.config import ModelConfig
from more_ray.device import use_threads
from more_ray.metrics.intervals import mean_with_interval
from more_ray.model.attention import PACKED_ATTENTION
from more_ray.model.loading import load_policy
from more_ray.model.tokenizer import training_tokenizer
from more_ray.parquet import read_table, write_table


def measure(
    samples: Mapping[str, pa.Table], base: Mapping[str, pa.Table], divergence: pa.Table | None
) -> dict[str, Any]:
    """Means over prompts with intervals, except `unfinished`, a share of all samples.

    `tokens`, `distinct_bigrams`; by reward model `reward`, and `gain` over the base on the same
    prompts, `gain_of_sources` the same by the head of each source; `kl` to the base in nats per
    answer, None for the base itself.

    Args:
        samples: the policy's samples, by the reward model that scored them.
        base: the same for the base.
        divergence: a table with `kl` and `row` of each sample.
    """
    first = next(iter(samples.values()))
    rewards = {name: by_prompt(table, "score") for name, table in samples.items()}
    return {
        "tokens": mean_with_interval(by_prompt(first, "tokens")),
        "unfinished": 1 - pc.mean(first["finished"]).as_py(),
        "distinct_bigrams": diversity(first),
        "reward": {name: mean_with_interval(reward_P) for name, reward_P in rewards.items()},
        "gain": {
            name: mean_with_interval(reward_P - by_prompt(base[name], "score"))
            for name, reward_P in rewards.items()
        },
        "gain_of_sources": {
            name: {
                source: mean_with_interval(reward_P - by_source(base[name])[source])
                for source, reward_P in by_source(table).items()
            }
            for name, table in samples.items()
        },
        "kl": None if divergence is None else mean_with_interval(by_prompt(divergence, "kl")),
    }


def divergence(
    policy: ModelConfig,
    base: ModelConfig,
    samples: pa.Table,
    max_prompt_tokens: int,
    uri: str,
) -> pa.Table:
    """`kl` of each sample (`row`, `sample`), from the file `uri`; made if it does not exist.

    Args:
        samples: all samples of some prompts, as `SAMPLE_SCHEMA`.
    """
    if not storage.exists(uri):
        use_gpu = uses_gpu(None, 1)
        task = ray.remote(_divergence_of).options(**worker_options(int(use_gpu)))
        device = "cuda" if use_gpu else "cpu"
        values = ray.get(task.remote(policy, base, samples, max_prompt_tokens, device))
        table = samples.select(["row", "sample"]).append_column("kl", pa.array(values))
        write_table(uri, table)
    return read_table(uri)


def _divergence_of(
    policy: ModelConfig, base: ModelConfig, samples: pa.Table, max_prompt_tokens: int, device: str
) -> list[float]:
    use_threads(1)
    tokenizer = training_tokenizer(base, None)
    models = []
    for config in (policy, base):
        model = load_policy(config, tokenizer, torch.float32, seed=0).to(device).eval()
        model.set_attn_implementation(PACKED_ATTENTION)
        models.append(model)
    values: list[float] = []
    for prompt, responses in _by_prompt(samples):
        batch = pack_samples(tokenizer, prompt, responses, max_prompt_tokens)
        values += answer_divergence(*models, batch.to(device)).tolist()
    return values


def _by_prompt(samples: pa.Table) -> Sequence[tuple[Any, list[str]]]:
    prompts: dict[int, tuple[Any, list[str]]] = {}
    for sample in samples.select(["row", "prompt", "response"]).to_pylist():
        prompts.setdefault(sample["row"], (sample["prompt"], []))[1].append(sample["response"])
    return list(prompts.values())
