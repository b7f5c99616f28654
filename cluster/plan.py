"""A plan for scale: memory, traffic, checkpoints and step times from 1 to 1,024 workers.

python cluster/plan.py

It prints the tables of cluster/README.md. They are estimates, not measurements.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace

from plan_model import (
    BASES,
    Hardware,
    activation_bytes,
    checkpoint_bytes,
    compute_seconds,
    gpu_bytes,
    gradient_bytes,
    lam_bytes,
    lam_seconds,
    step_seconds,
)
from pydantic import Field

from more_ray.cli import load_config
from more_ray.config import Section

GIB = 2**30
ZERO_STAGE = {"Pythia-1.4B": 1, "Pythia-2.8B": 2, "LLaMA2-7B": 3, "LLaMA2-13B": 3}
"""As in more_ray/config/ready."""


class ScalePlan(Section):
    workers: list[int] = Field([1, 8, 64, 256, 1024], min_length=1)
    """W, numbers of workers."""
    sources: int = Field(5, ge=1)
    """K, the number of sources."""
    tokens: int = Field(8_192, ge=1)
    """Tokens of each worker in a micro-step (16 pairs of about 500 tokens)."""
    bandwidths: list[float] = Field([3, 12.5, 50, 400], min_length=1)
    """Network of each GPU, in Gbit/s."""


def main() -> None:
    print("\n\n".join(tables(load_config(ScalePlan, sys.argv[1:], __doc__))))


def tables(plan: ScalePlan) -> list[str]:
    """Markdown: memory, traffic and checkpoints, step times; a caption above each."""
    return [_memory(plan), _traffic(plan), _times(plan)]


def _memory(plan: ScalePlan) -> str:
    header = ["base", "W", *(f"ZeRO {stage}" for stage in range(4)), "2, offload", "3, offload"]
    rows = [
        [
            base.name,
            f"{workers:,}",
            *(_gib(gpu_bytes(base, stage, workers)) for stage in range(4)),
            *(_gib(gpu_bytes(base, stage, workers, offload=True)) for stage in (2, 3)),
        ]
        for base in BASES
        for workers in plan.workers
    ]
    activations = ", ".join(
        f"{base.name} {_gib(activation_bytes(base, plan.tokens))}" for base in BASES
    )
    caption = (
        "GiB per GPU for weights, gradients and optimizer state (bf16, fp32 master weights, Adam). "
        f"Add for {plan.tokens:,} tokens with gradient checkpointing: {activations} GiB, the "
        "working memory of one block, and what the allocator and NCCL take."
    )
    return _table(caption, header, rows)


def _traffic(plan: ScalePlan) -> str:
    most = max(plan.workers)
    header = [
        *("base", "parameters", "lam, KiB", "ZeRO", "gradients, GiB", "ratio"),
        "checkpoint, GiB",
        *(f"per worker, W = {workers:,}" for workers in plan.workers),
    ]
    rows = []
    for base in BASES:
        stage = ZERO_STAGE[base.name]
        lam, gradients = lam_bytes(base, plan.sources), gradient_bytes(base, stage, most)
        checkpoint = checkpoint_bytes(base)
        rows.append(
            [
                base.name,
                f"{base.parameters:,}",
                f"{lam / 1024:.1f}",
                str(stage),
                _gib(gradients),
                f"{gradients / lam:,.0f}",
                _gib(checkpoint),
                *(_gib(checkpoint / workers) for workers in plan.workers),
            ]
        )
    caption = (
        f"What a worker sends in a micro-step, for lam (K = {plan.sources}, any W) and for the "
        f"weights (W = {most:,}), and the size of a resumable checkpoint, in total and per "
        "worker if shared evenly (below ZeRO 3 rank 0 writes the bf16 weights alone)."
    )
    return _table(caption, header, rows)


def _times(plan: ScalePlan) -> str:
    header = [
        *("base", "ZeRO", "W", "compute, s"),
        *(f"step at {gbit:g} Gbit/s, s" for gbit in plan.bandwidths),
        "of it lam, ms",
    ]
    networks = [replace(Hardware(), bandwidth=gbit * 1e9 / 8) for gbit in plan.bandwidths]
    rows = []
    for base in BASES:
        stage = ZERO_STAGE[base.name]
        for workers in plan.workers:
            steps = [
                step_seconds(base, stage, workers, plan.tokens, plan.sources, network)
                for network in networks
            ]
            lam = [lam_seconds(base, plan.sources, workers, network) for network in networks]
            rows.append(
                [
                    base.name,
                    str(stage),
                    f"{workers:,}",
                    f"{compute_seconds(base, plan.tokens, networks[0]):.2f}",
                    *(f"{seconds:.2f}" for seconds in steps),
                    f"{1e3 * min(lam):.2f} to {1e3 * max(lam):.2f}",
                ]
            )
    hardware = networks[0]
    caption = (
        f"Seconds per step against workers and the network of each GPU, {plan.tokens:,} tokens per "
        f"worker, K = {plan.sources}. Assumed: {hardware.flops / 1e12:.0f} TFLOP/s per GPU of "
        f"which {hardware.utilisation:.0%} are reached, gradient checkpointing, a ring for the "
        f"weights, a tree for lam, {hardware.latency * 1e6:.0f} µs per message, "
        f"{hardware.solve * 1e6:.0f} µs for the solver, nothing overlapped, no faster links within "
        "a node, no stragglers, no waiting for data."
    )
    return _table(caption, header, rows)


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}" if size < 10 * GIB else f"{size / GIB:.1f}"


def _table(caption: str, header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join([caption, "", *("| " + " | ".join(line) + " |" for line in lines)])


if __name__ == "__main__":
    main()
