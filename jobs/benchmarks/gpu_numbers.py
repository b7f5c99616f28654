"""Equalities that must hold on a GPU as they do on a CPU.

Each returns its `error`, what is `allowed`, and whether it `holds`.
Legend: N pairs, K sources, H numbers of the head.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from deepspeed import DeepSpeedEngine
from gpu_models import classifier, new_engine
from gpu_settings import GpuCheck
from real_lengths import random_batches
from torch import Tensor

from more_ray.data.packing import PackedBatch, pack
from more_ray.model.reward_model import RewardModel, choose_batch_format
from more_ray.objective.ranking import head_gradient_sums, ranking_slope
from more_ray.objective.weighting import MinNorm, gram
from more_ray.train.exchange import solve
from more_ray.train.losses import RankingLosses
from more_ray.train.step import micro_step

SOURCES = 5
PAIRS = 2
"""Pairs of each source in a batch."""
STEPS = 6


def packed_is_padded(config: GpuCheck) -> dict[str, Any]:
    """Packed rewards against padded ones in fp32; in bf16 both against padded in fp32."""
    batch = batches(config)[0]
    right_N2, _ = _rewards(config, batch, torch.float32, "padded")
    error = float((_rewards(config, batch, torch.float32, "packed")[0] - right_N2).abs().max())
    bf16, attention = {}, {}
    for layout in ("packed", "padded"):
        reward_N2, attention[layout] = _rewards(config, batch, torch.bfloat16, layout)
        bf16[layout] = float((reward_N2 - right_N2).square().mean().sqrt())
    allowed = 1e-4
    return {
        "attention": attention,
        "error": error,
        "allowed": allowed,
        "bf16_error": bf16["packed"],
        "bf16_allowed": 2 * bf16["padded"],
        "holds": error < allowed and bf16["packed"] <= 2 * bf16["padded"],
    }


@torch.no_grad()
def _rewards(
    config: GpuCheck, batch: PackedBatch, dtype: torch.dtype, layout: str
) -> tuple[Tensor, str]:
    """In float64, and the name of the attention that made them."""
    model = RewardModel(classifier(config.models[0], dtype, config.device)).eval()
    choose_batch_format(model, layout)
    return model(batch)[0].double(), model.classifier.config._attn_implementation


def zero_stages(config: GpuCheck, precision: str) -> dict[str, Any]:
    """Losses of each ZeRO stage against those of stage 0, relative to their size."""
    losses = {}
    for stage in range(4):
        engine = new_engine(config, config.models[0], precision=precision, zero_stage=stage)
        losses[stage] = _trained(engine, batches(config))
        engine.destroy()
    error = max(
        float(np.abs(np.subtract(one, losses[0]) / losses[0]).max()) for one in losses.values()
    )
    allowed = {"fp32": 1e-4, "bf16": 1e-2}[precision]
    return {"losses": losses, "error": error, "allowed": allowed, "holds": error < allowed}


def lam_again(config: GpuCheck) -> dict[str, Any]:
    """lam of the sums that the device makes, against lam from its hidden states on the CPU."""
    engine = new_engine(config, config.models[0])
    batch = batches(config)[0]
    with torch.no_grad():
        reward_N2, z_N2H = engine(batch)
        _, sums = RankingLosses(SOURCES, use_margin=False)(engine, batch)
    _, stats = solve(sums, MinNorm())
    delta_N = (reward_N2[:, 0] - reward_N2[:, 1]).cpu()
    z_chosen_NH, z_rejected_NH = z_N2H.cpu().unbind(dim=1)
    grad_KH, _ = head_gradient_sums(
        ranking_slope(delta_N), z_chosen_NH, z_rejected_NH, batch.source_N.cpu(), SOURCES
    )
    gram_KK = gram(grad_KH).numpy() / np.outer(stats.count_K, stats.count_K)
    unknown_K = np.full(SOURCES, np.nan)
    lam_K = MinNorm().weights(gram_KK, unknown_K, stats.loss_K, stats.count_K, grad_KH)
    error = float(np.abs(lam_K - stats.lam_K).max())
    return {"lam": stats.lam_K.tolist(), "error": error, "allowed": 1e-3, "holds": error < 1e-3}


def resumes(config: GpuCheck) -> dict[str, Any]:
    """Steps with a save and a load halfway against steps without, bit for bit."""
    half = STEPS // 2
    given = batches(config)
    with _deterministic(), tempfile.TemporaryDirectory() as folder:
        whole = new_engine(config, config.models[0])
        losses = _trained(whole, given[:half])
        whole.save_checkpoint(folder, "half")
        losses += _trained(whole, given[half:])
        resumed = new_engine(config, config.models[0])
        resumed.load_checkpoint(folder, "half")
        again = _trained(resumed, given[half:])
    pairs = zip(whole.module.parameters(), resumed.module.parameters(), strict=True)
    different = sum(int((one != other).sum()) for one, other in pairs)
    return {
        "losses": losses,
        "losses_again": again,
        "error": different,
        "allowed": 0,
        "holds": different == 0 and losses[half:] == again,
    }


@contextmanager
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def _trained(engine: DeepSpeedEngine, given: list[PackedBatch]) -> list[float]:
    """The losses of a step of MORE on each batch."""
    losses = RankingLosses(SOURCES, use_margin=False)
    return [micro_step(engine, batch, MinNorm(), "global", losses).loss for batch in given]


def batches(config: GpuCheck) -> list[PackedBatch]:
    """Small ones, on the device."""
    vocabulary = config.models[0].sizes["vocab_size"]
    source_N = np.repeat(np.arange(SOURCES), PAIRS)
    return [
        pack(*zip(*pairs, strict=True), source_N).to(config.device)
        for pairs in random_batches(STEPS, PAIRS, config.max_length, vocabulary)
    ]
