"""What the check on one GPU takes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from real_sources import REAL_SOURCES

from more_ray.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    Section,
    TrainConfig,
)


class Shape(Section):
    """A model with random weights."""

    name: str
    """What the results call it."""
    architecture: str
    """transformers' name of it: `llama`, `gpt_neox` ..."""
    sizes: dict[str, int]
    """Fields of its config."""


SMOLLM2 = Shape(
    name="SmolLM2-135M",
    architecture="llama",
    sizes={
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1_536,
        "vocab_size": 49_152,
    },
)
PYTHIA = Shape(
    name="Pythia-1.4B",
    architecture="gpt_neox",
    sizes={
        "num_hidden_layers": 24,
        "hidden_size": 2_048,
        "num_attention_heads": 16,
        "intermediate_size": 8_192,
        "vocab_size": 50_304,
    },
)

OURS = ("packed", "packed, checkpointed", "padded", "padded, checkpointed")
THEIRS = ("TRL, its defaults", "TRL, its best")
Variant = Literal[
    "packed",
    "packed, checkpointed",
    "padded",
    "padded, checkpointed",
    "TRL, its defaults",
    "TRL, its best",
]

CASES: dict[str, list[tuple[int, ...]]] = {
    "pairs": [(70, 40, 55), (1, 130, 20), (90, 1, 1)],
    "one, three and five answers": [(33, 64), (48, 17, 80, 5), (20, 7, 30, 1, 64, 12)],
    "nothing shared": [(0, 50, 60), (0, 33, 1, 90)],
    "one long pair": [(300, 130, 129)],
}
"""Packed answers for which attention is checked: of each prompt the tokens that its answers share,
then each answer's own."""


class GpuCheck(Section):
    phases: list[Literal[1, 2, 3]] = Field([1, 2, 3], min_length=1)
    """1: what the GPU can do, and attention. 2: numbers and speed. 3: real training on Ray."""
    seconds: list[float] = Field([60, 200, 290], min_length=3, max_length=3)
    """Deadline of each phase."""
    output: str = "outputs/gpu"
    """Folder of `phase1.json` and so on, `summary.json` and `runs.tar`."""
    runs: str = "outputs/gpu-runs"
    """Folder of phase 3's runs, with their models."""
    device: Literal["cuda", "cpu"] = "cuda"
    """cpu rehearses."""
    peak_tflops: float = Field(989, gt=0)
    """What MFU is a share of: the dense bf16 rate of an H100 or H200."""
    matrix: int = Field(8_192, ge=1)
    """Rows and columns of the matrices whose product is timed."""
    copy_mib: int = Field(2_048, ge=1)
    """Size of the block whose copy is timed."""
    models: list[Shape] = Field([SMOLLM2, PYTHIA], min_length=1)
    """Shapes for phases 1 and 2; numbers are those of the first."""
    variants: list[Variant] = Field([*OURS[:2], *THEIRS, *OURS[2:]])
    """Kinds of step in phase 2, in this order."""
    max_length: int = Field(512, ge=8, le=512)
    """Tokens of the longest answer; real lengths are scaled to it."""
    pairs_per_source: int = Field(16, ge=1, le=16)
    """Pairs of each of five sources in a batch of phase 2's steps."""
    warmup: int = Field(3, ge=1, le=3)
    """Steps that are not counted."""
    steps: int = Field(8, ge=1, le=8)
    """Steps that are."""
    trl_micro_pairs: int = Field(16, ge=1)
    """Pairs of a micro-batch of TRL at its best: only these are padded to one length."""
    schemes: list[Literal["more", "uniform", "proportional"]] = Field(["more", "proportional"])
    """Schemes of phase 3."""
    seeds: list[int] = Field([0, 1, 2])
    """Seeds of each."""
    training: RunConfig = RunConfig(
        data=DataConfig(sources=REAL_SOURCES),
        model=ModelConfig(path="SmolLM2-135M"),
        optimizer=OptimizerConfig(lr=2e-5, warmup=0.05, schedule="cosine"),
        train=TrainConfig(max_steps=250, eval_tokens=32_768, checkpoint_every=250),
    )
    """The runs of phase 3; `training.data.root` and `training.model.path` name folders."""
