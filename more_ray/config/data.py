"""Settings of the data: which sources, how many pairs, how they are prepared."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from more_ray.config.base import MayChange, Section


class SimulatorConfig(Section):
    sources: int = Field(5, ge=1, le=64)
    """Annotator populations to simulate: K."""
    pairs: int = Field(1_500, ge=2)
    """Training pairs of each population."""
    test_pairs: int = Field(500, ge=2)
    """Test pairs of each population."""
    drift: float = Field(0.8, ge=0)
    """Size of each population's own drift, relative to the shared reward (4)."""
    noise: float = Field(1.0, gt=0)
    """Temperature of the Bradley-Terry labels; 1 is the model's own noise."""
    seed: int = Field(0, ge=0)
    """Seed of the populations and of their pairs."""


class DataConfig(Section):
    renamed: ClassVar = {"pairs_per_source": "max_pairs"}

    root: str | None = None
    """Folder (path or URI) of `<source>.<split>.parquet|jsonl|jsonl.gz|json|csv` files."""
    sources: list[str] = Field([])
    """Names in `root`, names on the hub (helpful, harmless, oasst1, webgpt, summarize;
    `helpful@COMMIT` pins a revision), paths or URIs, or `name=path`. Empty: every source in `root`,
    or the simulator where root is unset."""
    train_on: list[str] = Field([])
    """Names of the sources to train on. Empty: all. All sources are evaluated."""
    simulator: SimulatorConfig = SimulatorConfig()
    """The built-in simulator, used when neither `root` nor `sources` is set."""
    max_pairs: int | None = Field(40_000, ge=1)
    """At most this many training pairs of a source, a seeded sample (the paper: 40,000)."""
    resample: bool = True
    """True: every source gives the same number of pairs per step and smaller sources are repeated
    (the paper). False: every pair once per epoch, each source in proportion to its size."""
    test_pairs: int | None = Field(2_000, ge=1)
    """At most this many test pairs of a source, a seeded sample."""
    test_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of prompts held out for testing where a source has no test file. An evaluation that
    does not set it scores such a file whole, unless the model was trained on it."""
    max_length: int = Field(512, ge=8)
    """Tokens of a prompt and its answer; longer ones lose their beginning."""
    on_leak: Literal["warn", "drop", "error"] = "warn"
    """What to do where a training pair has the prompt of a test pair of any source: warn, leave the
    training pair out, or stop."""
    max_reject_share: float = Field(0.3, ge=0, le=1)
    """Preparation fails where a larger share of a source's pairs is unusable."""
    seed: int = Field(0, ge=0)
    """Seed of sampling, shuffling and the test split."""
    prepared: MayChange[str] = "~/.cache/more_ray/prepared"
    """Folder (path or URI, shared by all nodes) of prepared data, reused by fingerprint."""
