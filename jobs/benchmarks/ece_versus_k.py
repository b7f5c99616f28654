"""ECE against the number of sources (the paper's Figure 6), on the hidden states of a frozen trunk.

    python jobs/benchmarks/ece_versus_k.py model.path=PATH model.layers=12 data.root=FOLDER

For each K from 2 on, the schemes of `heads_compared.py` learn from the first K sources, with its
draws and its choice of ridges and learning rates. Measured on the test pairs of these K sources,
and on those of the first two, which are the same for every K.

Legend: K sources, T test pairs.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import ray
from frozen import Data, hidden_states
from heads_compared import HeadsBenchmark, all_draws, best_lrs, summary
from heads_schemes import Deltas
from record import record

FEWEST = 2
SHOWN = (
    *("uniform", "proportional", "proportional + T", "more, by steps", "more, by steps + T"),
    *("uniform, by steps", "single", "single + T", "averaging + T"),
    *("drift", "drift + T", "drift + T, shared head", "drift, left out, unknown"),
)


def main() -> None:
    from more_ray.cli import load_config
    from more_ray.cluster import session

    config = load_config(HeadsBenchmark, sys.argv[1:], __doc__ or "")
    with session(2, False):
        data = hidden_states(config)
        started = time.perf_counter()
        counts = range(FEWEST, len(data.names) + 1)
        parts = {count: first_sources(data, count) for count in counts}
        stored = {count: ray.put(part) for count, part in parts.items()}
        lrs = {count: best_lrs(part, config) for count, part in stored.items()}
        asked = {count: all_draws(part, config, lrs[count]) for count, part in stored.items()}
        rows = []
        for count, part in parts.items():
            draws = [draw.deltas for draw in ray.get(asked[count])]
            for tested, tests in (("all K", count), (f"the first {FEWEST}", FEWEST)):
                about = {"K": count, "tested on": tested}
                rows += [about | row for row in measured(*of_first_sources(part, draws, tests))]
            print(f"{count} sources: {time.perf_counter() - started:.0f} s", flush=True)
    settings = config.model_dump(mode="json") | {
        "sources": list(data.names),
        "seconds of the fits": time.perf_counter() - started,
        "learning rates": {str(count): lr for count, lr in lrs.items()},
    }
    record("ece_versus_k", settings, rows)


def first_sources(data: Data, count: int) -> Data:
    """The pairs of the first sources."""
    kept_N, kept_T = data.source_N < count, data.test_source_T < count
    return replace(
        data.learning_from(kept_N),
        names=data.names[:count],
        test_TH=data.test_TH[kept_T],
        test_source_T=data.test_source_T[kept_T],
    )


def of_first_sources(data: Data, draws: list[Deltas], count: int) -> tuple[Data, list[Deltas]]:
    """The test pairs of the first sources, with their reward differences."""
    kept_T = data.test_source_T < count
    kept = [{name: delta_T[kept_T] for name, delta_T in draw.items()} for draw in draws]
    return first_sources(data, count), kept


def measured(data: Data, draws: list[Deltas]) -> list[dict[str, Any]]:
    """A row a scheme: means over sources and draws."""
    rows = []
    for scheme in SHOWN:
        found = summary(data, [draw[scheme] for draw in draws])
        means = {key: value for key, value in found.items() if key not in data.names}
        rows.append({"scheme": scheme, **means})
    return rows


if __name__ == "__main__":
    main()
