"""How memory, traffic and the time of a step grow with workers: arithmetic, no measurement.

Legend: K sources, H numbers of the head, W workers with one GPU each. Training in bf16 with fp32
master weights and Adam. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FP32 = 4
BF16 = 2
STATISTICS = 5
"""What a source sends beside its head gradient: `SourceSums.columns()`."""
MASTER_AND_ADAM = 3 * FP32
"""Bytes a parameter: the fp32 weight and Adam's two averages."""
GRADIENT = BF16 + FP32
"""Bytes a parameter: the gradient as it is made, and as it is summed."""


@dataclass(frozen=True)
class Base:
    """A reward model: the trunk of a causal LM and a head of `hidden_size` weights."""

    name: str
    hidden_size: int
    blocks: int
    parameters: int
    largest_layer: int
    """Parameters of the largest single layer, which ZeRO-3 gathers whole: the embeddings."""


BASES = (
    Base("Pythia-1.4B", 2_048, 24, 1_311_627_264, 103_022_592),
    Base("Pythia-2.8B", 2_560, 32, 2_646_433_280, 128_778_240),
    Base("LLaMA2-7B", 4_096, 32, 6_607_347_712, 131_072_000),
    Base("LLaMA2-13B", 5_120, 40, 12_852_029_440, 163_840_000),
)


@dataclass(frozen=True)
class Hardware:
    """What a step is computed on. No traffic is hidden behind computation."""

    flops: float = 312e12
    """Peak bf16 operations a second of a GPU."""
    utilisation: float = 0.4
    """The share of the peak that training reaches."""
    bandwidth: float = 50e9 / 8
    """Bytes a second that each GPU can send and receive at once."""
    latency: float = 20e-6
    """Latency of a message."""
    solve: float = 68e-6
    """Time of the solver at K = 5."""


def gpu_bytes(base: Base, zero_stage: int, workers: int, offload: bool = False) -> int:
    """Weights, gradients and optimizer state on each GPU; activations come on top."""
    parameters = base.parameters
    gathered = 2 * BF16 * base.largest_layer
    if offload:
        return {1: BF16 * parameters, 2: BF16 * parameters, 3: gathered}[zero_stage]
    return {
        0: (BF16 + FP32 + MASTER_AND_ADAM) * parameters,
        1: (BF16 + GRADIENT) * parameters + MASTER_AND_ADAM * parameters // workers,
        2: BF16 * parameters + (GRADIENT + MASTER_AND_ADAM) * parameters // workers,
        3: gathered + (GRADIENT + MASTER_AND_ADAM) * parameters // workers,
    }[zero_stage]


def activation_bytes(base: Base, tokens: int) -> int:
    """What gradient checkpointing keeps of the forward pass: the input of every block."""
    return BF16 * base.blocks * base.hidden_size * tokens


def checkpoint_bytes(base: Base) -> int:
    """A resumable checkpoint: bf16 weights, fp32 weights and Adam's averages."""
    return (BF16 + MASTER_AND_ADAM) * base.parameters


def lam_bytes(base: Base, sources: int) -> int:
    """What a worker sends for lam in a micro-step; the K weights that come back are `FP32 * K`."""
    return FP32 * sources * (base.hidden_size + STATISTICS)


def gradient_bytes(base: Base, zero_stage: int, workers: int) -> float:
    """What a worker sends along a ring: gradients in fp32, which are summed and (below stage 2)
    handed out, and weights in bf16, which each gathers once from stage 1 on and twice at stage 3.
    """
    a_parameter = {0: 2 * FP32, 1: 2 * FP32 + BF16, 2: FP32 + BF16, 3: FP32 + 2 * BF16}[zero_stage]
    return a_parameter * base.parameters * (workers - 1) / workers


def lam_seconds(base: Base, sources: int, workers: int, hardware: Hardware) -> float:
    """A reduce to rank 0 along a tree, the solve there, and a broadcast along the tree."""
    hops = math.ceil(math.log2(workers))
    sent = (lam_bytes(base, sources) + FP32 * sources) / hardware.bandwidth
    return hops * (2 * hardware.latency + sent) + hardware.solve


def compute_seconds(base: Base, tokens: int, hardware: Hardware) -> float:
    """Forward, backward and the second forward of gradient checkpointing over `tokens`."""
    return 8 * base.parameters * tokens / (hardware.flops * hardware.utilisation)


def step_seconds(
    base: Base, zero_stage: int, workers: int, tokens: int, sources: int, hardware: Hardware
) -> float:
    """An optimizer step of one micro-batch with `tokens` on each worker."""
    sync = gradient_bytes(base, zero_stage, workers) / hardware.bandwidth
    return (
        compute_seconds(base, tokens, hardware)
        + sync
        + lam_seconds(base, sources, workers, hardware)
    )
