"""Which reward head serves people who disagree: one for all, MORE's, or shared + drift?

    python jobs/benchmarks/heads_compared.py model.path=PATH model.layers=12 data.root=FOLDER

All schemes get the same last hidden states of a frozen trunk, the same training pairs in each of
`draws` (a tenth of the prompts left out, another tenth in each), and the same test pairs. One head
for all (uniform, proportional = MultiTask), a head for each source alone (single = Top), the mean
of those (averaging) and shared + drift (drift) are fitted to their optimum, with ridges by
cross-validation; MORE is trained by AdamW, and beside it uniform likewise, each with the learning
rate that is best on a fifth of the training prompts. Each is scored as it is, and over a
temperature that was fitted on training pairs that it did not see. `left out` is each source by what
was learnt from the others, with the ridges and learning rates of all. Intervals are over test pairs
and these draws, which share most of their training pairs: they say little about other such data.

Writes `results/heads_compared-N.json`, N the blocks of the trunk.

Legend: N pairs, K sources, H hidden size, T test pairs.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import numpy as np
import ray
from frozen import Data, Floats, TrunkSettings, by_steps, hidden_states
from heads_schemes import (
    PAIRS_PER_SOURCE,
    Deltas,
    held_out,
    one_head,
    shared_and_drift,
    single_heads,
    trained_head,
)
from pydantic import Field
from record import record

RESAMPLES = 2_000
BY_STEPS = ("more", "uniform")
"""The schemes that are trained by steps."""


class HeadsBenchmark(TrunkSettings):
    benchmarks: list[str] = Field([])
    """Further test sets that nothing is learnt from: `NAME=FILE`."""
    draws: int = Field(10, ge=1)
    """Samples of the training pairs."""
    lrs: list[float] = Field([3e-4, 1e-3, 3e-3, 1e-2])
    """Learning rates to choose from, for what is trained by steps."""


def main() -> None:
    from more_ray.cli import load_config
    from more_ray.cluster import session

    config = load_config(HeadsBenchmark, sys.argv[1:], __doc__ or "")
    with session(2, False):
        started = time.perf_counter()
        data = hidden_states(config, config.benchmarks)
        passed = time.perf_counter()
        shared = ray.put(data)
        lrs = best_lrs(shared, config)
        draws = ray.get(all_draws(shared, config, lrs))
        fitted = time.perf_counter()
    deltas = [draw.deltas for draw in draws]
    layers = config.model.layers or "all"
    settings = config.model_dump(mode="json") | {
        "sources": {
            name: int((data.test_source_T == i).sum()) for i, name in enumerate(data.names)
        },
        "seconds of the forward pass": passed - started,
        "seconds of the fits": fitted - passed,
        "learning rates": lrs,
        "ridges of each draw": [draw.ridges for draw in draws],
    }
    record(f"heads_compared-{layers}", settings, list(starmap(_row, _by_way(data, deltas).items())))
    record(f"heads_compared-{layers}-differences", settings, differences(data, deltas))
    if data.further:
        record(f"heads_compared-{layers}-further", settings, further_rows(data, draws))


def best_lrs(data: ray.ObjectRef, config: HeadsBenchmark) -> dict[str, float]:
    """The learning rate of each scheme that is trained by steps."""
    found = ray.get([one_core(best_lr).remote(data, config, scheme) for scheme in BY_STEPS])
    return dict(zip(BY_STEPS, found, strict=True))


def all_draws(
    data: ray.ObjectRef, config: HeadsBenchmark, lrs: dict[str, float]
) -> list[ray.ObjectRef]:
    return [one_core(one_draw).remote(data, config, draw, lrs) for draw in range(config.draws)]


def one_core(function: Any) -> Any:
    """A Ray task of one core."""
    from more_ray.cluster import worker_environment

    environment = {"env_vars": worker_environment(False) | {"OMP_NUM_THREADS": "1"}}
    return ray.remote(function).options(num_cpus=1, runtime_env=environment)


@dataclass(frozen=True)
class Draw:
    """What one sample of the training pairs leads to."""

    deltas: Deltas
    further: dict[str, Deltas]
    ridges: dict[str, list[float]]


def one_draw(data: Data, config: HeadsBenchmark, draw: int, lrs: dict[str, float]) -> Draw:
    """All schemes on one sample of the training pairs."""
    from more_ray.calibrate.choose import fold_of

    kept_N = fold_of(data.prompt_N, 10, seed=1_000) != draw % 10
    data = data.learning_from(kept_N)
    deltas, ridges = {}, {}
    for scheme in ("uniform", "proportional"):
        deltas |= one_head(data, scheme, draw, ridges)
    deltas |= single_heads(data, draw, ridges)
    drift, further = shared_and_drift(data, draw, ridges)
    deltas |= drift
    for scheme, lr in lrs.items():
        deltas |= trained_head(data, config.epochs, scheme, lr, draw)
    return Draw(deltas, further, ridges)


def best_lr(data: Data, config: HeadsBenchmark, scheme: str) -> float:
    """The learning rate by which a scheme's mean NLL is least on a fifth of the prompts."""
    held_N, sources = held_out(data, seed=0), range(len(data.names))

    def mean_nll(lr: float) -> float:
        head_H = by_steps(
            data, ~held_N, sources, {"scheme": scheme}, lr, PAIRS_PER_SOURCE, config.epochs, seed=0
        )
        parts = (data.dz_NH[held_N & (data.source_N == one)] for one in sources)
        return float(np.mean([_nll(dz_nH @ head_H) for dz_nH in parts]))

    return min(config.lrs, key=mean_nll)


def _by_way(data: Data, draws: list[Deltas]) -> dict[str, dict[str, Any]]:
    """For each way to score, its measures' means over sources and draws."""
    return {name: summary(data, [draw[name] for draw in draws]) for name in draws[0]}


def summary(data: Data, delta_DT: list[Floats]) -> dict[str, Any]:
    from more_ray.metrics.calibration import ece
    from more_ray.metrics.intervals import calibrated_replicates

    def floor(delta_T: Floats) -> float:
        return float(calibrated_replicates({"ece": ece}, delta_T, 0, 50)["ece"].mean())

    measures = {"accuracy": _accuracy, "nll": _nll, "brier": _brier, "ece": ece, "floor": floor}
    by_draw = {
        name: [np.mean(_by_source(data, delta_T, measure)) for delta_T in delta_DT]
        for name, measure in measures.items()
    }
    found: dict[str, Any] = {name: float(np.mean(values)) for name, values in by_draw.items()}
    for name in ("accuracy", "nll"):
        low, high = np.quantile(_resampled(data, delta_DT, measures[name]), [0.025, 0.975])
        found[f"{name}, 95%"] = f"{low:.3f} to {high:.3f}"
    found["ece of the draws"] = f"{min(by_draw['ece']):.3f} to {max(by_draw['ece']):.3f}"
    accuracies = np.mean([_by_source(data, delta_T, _accuracy) for delta_T in delta_DT], axis=0)
    return found | {name: float(one) for name, one in zip(data.names, accuracies, strict=True)}


def _accuracy(delta_T: Floats) -> float:
    return float((delta_T > 0).mean())


def _nll(delta_T: Floats) -> float:
    return float(np.logaddexp(0, -delta_T).mean())


def _brier(delta_T: Floats) -> float:
    from more_ray.metrics.calibration import sigmoid

    return float((sigmoid(-delta_T) ** 2).mean())


def _by_source(data: Data, delta_T: Floats, measure: Any) -> list[float]:
    return [measure(delta_T[data.test_source_T == one]) for one in range(len(data.names))]


def _resampled(
    data: Data, delta_DT: list[Floats], measure: Any, against_DT: list[Floats] | None = None
) -> Floats:
    """Means over sources for a draw at random and test pairs at random, less another way's."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(data.test_source_T == source) for source in range(len(data.names))]
    found = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        draw = rng.integers(len(delta_DT))
        chosen = [rng.choice(row_t, len(row_t)) for row_t in rows]
        found[number] = np.mean([measure(delta_DT[draw][row_t]) for row_t in chosen])
        if against_DT:
            found[number] -= np.mean([measure(against_DT[draw][row_t]) for row_t in chosen])
    return found


def differences(data: Data, draws: list[Deltas]) -> list[dict[str, Any]]:
    """Shared + drift less MultiTask, and left out less one head for all, on the same pairs."""
    from more_ray.metrics.calibration import ece

    compared = [
        (mine, theirs)
        for mine in ("drift", "drift + T", "drift + T, posterior")
        for theirs in ("proportional", "proportional + T", "uniform + T", "more, by steps + T")
    ]
    compared += [
        ("drift, left out, unknown", f"{theirs}, left out")
        for theirs in ("uniform", "uniform + T", "proportional + T", "more, by steps + T")
    ]
    compared += [("more, by steps", "uniform, by steps"), ("more, by steps + T", "uniform + T")]
    rows = []
    for mine, theirs in compared:
        row: dict[str, Any] = {"way": mine, "less": theirs}
        for name, measure in (
            ("accuracy", _accuracy),
            ("nll", _nll),
            ("brier", _brier),
            ("ece", ece),
        ):
            one_DT, other_DT = ([draw[way] for draw in draws] for way in (mine, theirs))
            found = _resampled(data, one_DT, measure, other_DT)
            low, high = np.quantile(found, [0.025, 0.975])
            row[name], row[f"{name}, 95%"] = float(found.mean()), f"{low:+.4f} to {high:+.4f}"
        rows.append(row)
    return rows


def further_rows(data: Data, draws: list[Draw]) -> list[dict[str, Any]]:
    """Accuracy and ECE of every head on the further test sets, means over draws."""
    from more_ray.metrics.calibration import ece

    return [
        {
            "set": name,
            "pairs": len(data.further[name]),
            "head": head,
            "accuracy": float(np.mean([_accuracy(draw.further[name][head]) for draw in draws])),
            "ece": float(np.mean([ece(draw.further[name][head]) for draw in draws])),
            "nll": float(np.mean([_nll(draw.further[name][head]) for draw in draws])),
        }
        for name in data.further
        for head in draws[0].further[name]
    ]


def _row(name: str, found: dict[str, Any]) -> dict[str, Any]:
    return {"scheme": name, **found}


if __name__ == "__main__":
    main()
