"""Scoring on Ray Data: blocks of rows through actors that hold the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray

from more_ray.cluster import uses_gpu, worker_options
from more_ray.config import EvaluationConfig, ModelConfig
from more_ray.device import made_apart, use_threads
from more_ray.model.loading import load_reward_model, load_reward_tokenizer


class ScoringActor:
    """Holds the model; a subclass says what it does with a block."""

    def __init__(self, model: ModelConfig, max_length: int, workers: int, device: str) -> None:
        self._device = device
        use_threads(workers)
        tokenizer = load_reward_tokenizer(model, max_length)
        self._model = made_apart(lambda: load_reward_model(model, tokenizer, device))

    def __call__(self, rows: pa.Table) -> pa.Table:
        raise NotImplementedError


def device_of(config: EvaluationConfig) -> str:
    """Where the actors run: "cuda" or "cpu"."""
    return "cuda" if uses_gpu(config.use_gpu, config.workers) else "cpu"


def scored_blocks(
    actor: type[ScoringActor], blocks: Sequence[pa.Table], config: EvaluationConfig
) -> Iterator[dict[str, Any]]:
    """What the actors make of each block, as NumPy columns, in any order."""
    device = device_of(config)
    return (
        ray.data.from_arrow(list(blocks))
        .map_batches(
            actor,
            fn_constructor_args=(config.model, config.data.max_length, config.workers, device),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=config.workers),
            **worker_options(int(device == "cuda")),
        )
        .iter_batches(batch_size=None, batch_format="numpy")
    )
