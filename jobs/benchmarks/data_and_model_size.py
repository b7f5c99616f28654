"""What more training pairs and more blocks of the trunk bring, for heads on frozen trunks.

    python jobs/benchmarks/data_and_model_size.py model.path=PATH data.root=FOLDER

For each trunk and each share of the training prompts, MultiTask and shared + drift are fitted as in
`heads_compared.py`, on `draws` samples of the prompts that differ; the test pairs are always all.

Legend: N pairs, T test pairs.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import ray
from frozen import Data, TrunkSettings, hidden_states
from heads_compared import one_core, summary
from heads_schemes import Deltas, one_head, shared_and_drift
from pydantic import Field
from record import record

SHOWN = (
    *("proportional", "proportional + T", "drift", "drift + T", "drift + T, shared head"),
    *("proportional + T, left out", "drift, left out, unknown"),
)


class SizesBenchmark(TrunkSettings):
    blocks: list[int] = Field([1, 6, 12], min_length=1)
    """Trunks: the model's first so many blocks, whatever `model.layers` says."""
    shares: list[float] = Field([0.05, 0.2, 0.8], min_length=1)
    """Of the training prompts."""
    draws: int = Field(10, ge=1)
    """Samples of the training prompts for each trunk and share."""


def main() -> None:
    from more_ray.cli import load_config
    from more_ray.cluster import session

    config = load_config(SizesBenchmark, sys.argv[1:], __doc__ or "")
    rows, seconds = [], {}
    with session(2, False):
        for blocks in config.blocks:
            started = time.perf_counter()
            model = config.model.changed(layers=blocks)
            data = hidden_states(config.changed(model=model))
            seconds[f"hidden states of {blocks} blocks"] = time.perf_counter() - started
            rows += measured(data, blocks, config)
    settings = config.model_dump(mode="json") | {"sources": list(data.names), "seconds": seconds}
    record("data_and_model_size", settings, rows)


def measured(data: Data, blocks: int, config: SizesBenchmark) -> list[dict[str, Any]]:
    """A row for each share and scheme: means over sources and draws."""
    stored = ray.put(data)
    asked = {
        share: [one_core(one_draw).remote(stored, share, draw) for draw in range(config.draws)]
        for share in config.shares
    }
    rows = []
    for share, tasks in asked.items():
        pairs, draws = zip(*ray.get(tasks), strict=True)
        print(
            f"{blocks} blocks, {share:.0%} of the prompts: {np.mean(pairs):,.0f} pairs", flush=True
        )
        for scheme in SHOWN:
            found = summary(data, [draw[scheme] for draw in draws])
            means = {key: value for key, value in found.items() if key not in data.names}
            about = {"blocks": blocks, "pairs": round(float(np.mean(pairs))), "scheme": scheme}
            rows.append(about | means)
    return rows


def one_draw(data: Data, share: float, draw: int) -> tuple[int, Deltas]:
    """How many pairs a sample of the prompts has, and what is learnt from them."""
    prompts = np.unique(data.prompt_N)
    rng = np.random.default_rng(draw)
    kept_N = np.isin(data.prompt_N, rng.permutation(prompts)[: round(share * len(prompts))])
    data = data.learning_from(kept_N)
    drift, _ = shared_and_drift(data, draw, {})
    return int(kept_N.sum()), one_head(data, "proportional", draw, {}) | drift


if __name__ == "__main__":
    main()
