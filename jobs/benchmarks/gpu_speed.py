"""Seconds, memory and use of the GPU of a training step, ours and TRL's."""

from __future__ import annotations

import time
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from engine_process import peak_memory_mib, synchronize
from gpu_models import classifier, new_engine
from gpu_settings import THEIRS, GpuCheck, Shape
from real_lengths import Pairs, padded_tokens, random_batches
from torch import nn
from transformers import PreTrainedModel

from more_ray.config import ModelConfig
from more_ray.data.packing import pack
from more_ray.model.tokenizer import training_tokenizer
from more_ray.objective.weighting import Fixed, MinNorm
from more_ray.train.losses import RankingLosses
from more_ray.train.step import micro_step

SOURCES = 5


def ours(config: GpuCheck, shape: Shape, variant: str) -> dict[str, Any]:
    """Steps of MORE; where packed plainly, each beside one with uniform weights."""
    layout, _, checkpointed = variant.partition(", ")
    engine = new_engine(config, shape, layout, bool(checkpointed))
    weightings: dict[str, Any] = {"more": MinNorm()}
    if variant == "packed":
        weightings["uniform"] = Fixed(np.full(SOURCES, 1 / SOURCES))
    losses = RankingLosses(SOURCES, use_margin=False)
    source_N = np.repeat(np.arange(SOURCES), config.pairs_per_source)
    seconds: dict[str, list[float]] = {name: [] for name in weightings}
    reset_peak(config)
    given = batches(config, shape)
    for pairs in given:
        batch = pack(*zip(*pairs, strict=True), source_N)
        for name, weighting in weightings.items():
            synchronize(config.device)
            started = time.perf_counter()
            micro_step(engine, batch.to(config.device), weighting, "global", losses)
            synchronize(config.device)
            seconds[name].append(time.perf_counter() - started)
    work = [packed_work(pairs) if layout == "packed" else padded_work(pairs) for pairs in given]
    result = row(config, engine.module.trained, seconds["more"], work)
    engine.destroy()
    if "uniform" in seconds:
        ratios = np.divide(seconds["more"], seconds["uniform"])[config.warmup :]
        result["more_over_uniform"] = float(np.median(ratios))
    return result


def theirs(config: GpuCheck, shape: Shape, variant: str) -> dict[str, Any]:
    """TRL's RewardTrainer at its defaults but for the batch, which is ours; or at its best: weights
    in bf16, no checkpointing, and micro-batches, each of which is padded by itself."""
    from trl_steps import trl_steps

    best = variant == THEIRS[1]
    micro_pairs = min(config.trl_micro_pairs, SOURCES * config.pairs_per_source)
    settings: dict[str, Any] = {}
    if best:
        settings = {
            "micro_pairs": micro_pairs,
            "gradient_checkpointing": False,
        }
    model = classifier(shape, torch.bfloat16 if best else torch.float32, config.device)
    tokenizer = training_tokenizer(ModelConfig(), config.max_length)
    given = batches(config, shape)
    reset_peak(config)
    steps = trl_steps(model, tokenizer, given, config.max_length, **settings)
    size = micro_pairs if best else len(given[0])
    work = [
        tuple(map(sum, zip(*map(padded_work, parts(pairs, size)), strict=True))) for pairs in given
    ]
    return row(config, model, steps["seconds"], work)


def row(
    config: GpuCheck, model: PreTrainedModel, seconds: list[float], work: list[tuple[int, ...]]
) -> dict[str, Any]:
    """What is reported of steps.

    Args:
        work: of each step the tokens, those of padding among them, and the keys that they see.
    """
    counted = slice(config.warmup, None)
    step_s = median(seconds[counted])
    tokens = mean(tokens for tokens, _ in work[counted])
    flops = mean(step_flops(model, *one) for one in work[counted])
    return {
        "step_s": step_s,
        "seconds": seconds,
        "pairs_per_s": SOURCES * config.pairs_per_source / step_s,
        "tokens_per_step": tokens,
        "tokens_per_s": tokens / step_s,
        "mfu": flops / step_s / (config.peak_tflops * 1e12),
        "peak_mib": peak_memory_mib(config.device),
    }


def step_flops(model: PreTrainedModel, tokens: int, keys: int) -> float:
    """Floating-point operations that a step needs.

    Forward and backward multiply each token with each weight of a linear layer three times, two
    operations each: 6 times weights times tokens. Attention makes, per key that a token sees and
    number of the hidden size, two products of two operations, three times over: 12 a layer. What
    checkpointing computes again is not needed, so it counts as 6, not 8: MFU then shows its cost.
    Of the last block packed batches compute only the scored tokens' MLP, which is counted whole:
    at most 3% too much for 24 blocks.

    Args:
        keys: that all tokens of a layer see, together.
    """
    trunk = model.base_model
    weights = sum(one.weight.numel() for one in trunk.modules() if isinstance(one, nn.Linear))
    shape = model.config
    return 6 * weights * tokens + 12 * shape.num_hidden_layers * shape.hidden_size * keys


def packed_work(pairs: Pairs) -> tuple[int, int]:
    """Tokens of a batch and the keys that they see."""
    batch = pack(*zip(*pairs, strict=True))
    keys = int((batch.position_ids_T + 1).sum())
    return len(batch.input_ids_T), keys


def padded_work(pairs: Pairs) -> tuple[int, int]:
    """The same of rows of one length, in which a token sees what is before it."""
    tokens = padded_tokens(pairs)
    length = tokens // (2 * len(pairs))
    return tokens, tokens * (length + 1) // 2


def parts(pairs: Pairs, size: int) -> list[Pairs]:
    return [pairs[first : first + size] for first in range(0, len(pairs), size)]


def batches(config: GpuCheck, shape: Shape) -> list[Pairs]:
    return random_batches(
        config.warmup + config.steps,
        config.pairs_per_source,
        config.max_length,
        shape.sizes["vocab_size"],
    )


def reset_peak(config: GpuCheck) -> None:
    if config.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
