from __future__ import annotations

from pathlib import Path

import pytest
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from hypothesis import given
from hypothesis import strategies as st
from plan import ScalePlan, tables
from plan_model import (
    BASES,
    Base,
    Hardware,
    compute_seconds,
    gpu_bytes,
    lam_bytes,
    lam_seconds,
    step_seconds,
)
from transformers import AutoModel, GPTNeoXConfig, LlamaConfig

from more_ray.train.sums import SourceSums

REPOSITORY = Path(__file__).parents[2]

each_base = pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
ARCHITECTURES = {
    "Pythia-1.4B": (GPTNeoXConfig, 16, 8_192, 50_304),
    "Pythia-2.8B": (GPTNeoXConfig, 32, 10_240, 50_304),
    "LLaMA2-7B": (LlamaConfig, 32, 11_008, 32_000),
    "LLaMA2-13B": (LlamaConfig, 40, 13_824, 32_000),
}
"""Heads, width of the feed-forward layers, vocabulary: config.json of each on the hub."""


@each_base
def test_parameters_are_those_of_the_architecture(base: Base) -> None:
    make, heads, intermediate_size, vocab_size = ARCHITECTURES[base.name]
    config = make(
        hidden_size=base.hidden_size,
        num_hidden_layers=base.blocks,
        num_attention_heads=heads,
        intermediate_size=intermediate_size,
        vocab_size=vocab_size,
    )
    with torch.device("meta"):
        trunk = AutoModel.from_config(config)
    assert base.parameters == sum(p.numel() for p in trunk.parameters()) + base.hidden_size
    assert base.largest_layer == max(
        sum(p.numel() for p in layer.parameters(recurse=False)) for layer in trunk.modules()
    )


@each_base
@given(nodes=st.integers(1, 128), gpus=st.integers(1, 8), offload=st.booleans())
def test_memory_is_what_deepspeed_estimates(
    base: Base, nodes: int, gpus: int, offload: bool
) -> None:
    setting = {"num_gpus_per_node": gpus, "num_nodes": nodes, "cpu_offload": offload}
    _, stage_2 = estimate_zero2_model_states_mem_needs(base.parameters, **setting)
    _, stage_3, _ = estimate_zero3_model_states_mem_needs(
        base.parameters, base.largest_layer, cpu_offload_params=offload, **setting
    )
    # Within what float division loses of a few bytes there.
    assert gpu_bytes(base, 2, nodes * gpus, offload) == pytest.approx(stage_2, abs=64)
    assert gpu_bytes(base, 3, nodes * gpus, offload) == pytest.approx(stage_3, abs=64)


@each_base
@given(workers=st.integers(2, 1_024))
def test_a_higher_stage_needs_less(base: Base, workers: int) -> None:
    sizes = [gpu_bytes(base, stage, workers) for stage in range(4)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == gpu_bytes(base, 0, 1) < gpu_bytes(base, 1, 1) == gpu_bytes(base, 2, 1)


@each_base
@given(workers=st.integers(2, 1_024))
def test_a_step_is_compute_and_traffic(base: Base, workers: int) -> None:
    slow, fast = Hardware(bandwidth=1e9), Hardware(bandwidth=1e15, latency=0, solve=0)
    compute = compute_seconds(base, 8_192, slow)
    assert step_seconds(base, 3, workers, 8_192, 5, fast) == pytest.approx(compute, rel=1e-3)
    # For two workers half of the fp32 gradient, and half of the bf16 weights twice.
    waits = step_seconds(base, 3, workers, 8_192, 5, slow) - compute
    assert 4 * base.parameters / 1e9 <= waits <= 8 * base.parameters / 1e9 + 0.01
    assert step_seconds(base, 3, 1, 8_192, 5, slow) == compute + slow.solve


def test_lam_is_five_gradients_of_the_head_and_the_other_sums() -> None:
    pythia = BASES[0]
    assert lam_bytes(pythia, sources=5) == 4 * 5 * (2_048 + len(SourceSums.columns()))
    hardware = Hardware()
    assert lam_seconds(pythia, 5, 1, hardware) == hardware.solve
    assert lam_seconds(pythia, 5, 1_024, hardware) < 2e-3


def test_the_readme_shows_the_tables_as_they_come_out() -> None:
    readme = (REPOSITORY / "cluster" / "README.md").read_text()
    for table in tables(ScalePlan()):
        assert table in readme
