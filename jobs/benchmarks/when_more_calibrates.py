"""When does MORE calibrate? Learning rate, pairs a step, momentum and drift, on frozen trunks.

    python jobs/benchmarks/when_more_calibrates.py model.path=PATH model.layers=12 data.root=FOLDER

trains one head for all by MORE, by MORE with momentum 0.9, by MORE without the sampling noise
(`objective.debias`) and uniformly, on the hidden states of real pairs and of simulated ones (the
tiny model as trunk) of several drifts. Each with `seeds` orders of the pairs. Intervals are
Student's over seeds.

Writes `results/when_more_calibrates.json` and `docs/figures/when_more_calibrates.svg`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import ray
from frozen import Data, Floats, TrunkSettings, by_steps, hidden_states
from pydantic import Field
from record import FIGURES, record

SCHEMES: dict[str, dict[str, Any]] = {
    "uniform": {"scheme": "uniform"},
    "MORE": {"scheme": "more"},
    "MORE, momentum 0.9": {"scheme": "more", "momentum": 0.9},
    "MORE, debiased": {"scheme": "more", "debias": True},
}


class Study(TrunkSettings):
    drifts: list[float] = Field([0.0, 0.8, 2.0])
    """Drifts of the simulated worlds."""
    simulated_pairs: int = Field(1_000, ge=10)
    """Training pairs of each simulated population."""
    lrs: list[float] = Field([3e-4, 1e-3, 3e-3, 1e-2])
    """Learning rates."""
    batches: list[int] = Field([4, 16])
    """Pairs of each source in a step: B."""
    seeds: int = Field(10, ge=2)
    """Orders of the pairs."""


def main() -> None:
    from more_ray.cli import load_config
    from more_ray.cluster import session, worker_environment

    config = load_config(Study, sys.argv[1:], __doc__ or "")
    with session(2, False):
        worlds = {"real preferences": ray.put(hidden_states(config))}
        for drift in config.drifts:
            worlds[f"simulated, drift {drift:g}"] = ray.put(hidden_states(simulated(config, drift)))
        environment = {"env_vars": worker_environment(False) | {"OMP_NUM_THREADS": "1"}}
        measure = ray.remote(measured).options(num_cpus=1, runtime_env=environment)
        cells = list(product(worlds, config.batches, config.lrs, SCHEMES))
        found = ray.get(
            [
                measure.remote(worlds[world], SCHEMES[scheme], lr, batch, config)
                for world, batch, lr, scheme in cells
            ]
        )
    rows = [
        {"world": world, "B": batch, "lr": lr, "scheme": scheme, **values}
        for (world, batch, lr, scheme), values in zip(cells, found, strict=True)
    ]
    record("when_more_calibrates", config.model_dump(mode="json"), rows)
    (FIGURES / "when_more_calibrates.svg").write_text(figure(rows, config.batches[-1]))
    for line in sentences(rows):
        print(line)


def simulated(config: Study, drift: float) -> TrunkSettings:
    """The settings of a simulated world."""
    simulator = {"pairs": config.simulated_pairs, "test_pairs": 500, "drift": drift}
    return TrunkSettings.model_validate(
        {"data": {"simulator": simulator}, "features": config.features, "epochs": config.epochs}
    )


def measured(
    data: Data, objective: dict[str, Any], lr: float, batch: int, config: Study
) -> dict[str, Any]:
    """ECE and NLL, means over sources: mean and 95% interval over seeds, and each seed's."""
    from more_ray.metrics.calibration import ece, nll
    from more_ray.metrics.intervals import student

    sources, every_N = range(len(data.names)), np.ones(len(data.dz_NH), bool)
    by_seed: dict[str, list[float]] = {"ece": [], "nll": [], "accuracy": []}
    for seed in range(config.seeds):
        head_H = by_steps(data, every_N, sources, objective, lr, batch, config.epochs, seed)
        delta_T = data.test_TH @ head_H
        parts = [delta_T[data.test_source_T == source] for source in sources]
        by_seed["ece"].append(float(np.mean([ece(part) for part in parts])))
        by_seed["nll"].append(float(np.mean([nll(part) for part in parts])))
        by_seed["accuracy"].append(float(np.mean([(part > 0).mean() for part in parts])))
    found: dict[str, Any] = {}
    for name, values in by_seed.items():
        found[name] = float(np.mean(values))
        found[f"{name}, 95%"] = student(np.array(values))
    return found


def best_of(rows: Sequence[dict[str, Any]], world: str, scheme: str) -> dict[str, Any]:
    """The cell of a scheme with the least NLL."""
    mine = [row for row in rows if row["world"] == world and row["scheme"] == scheme]
    return min(mine, key=lambda row: row["nll"])


def sentences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Each scheme at its own best setting, by world."""
    lines = []
    for world in dict.fromkeys(row["world"] for row in rows):
        for scheme in SCHEMES:
            best = best_of(rows, world, scheme)
            low, high = best["ece, 95%"]
            lines.append(
                f"{world}: {scheme} is best at lr {best['lr']:g}, B {best['B']}: NLL "
                f"{best['nll']:.4f}, ECE {best['ece']:.3f} ({low:.3f} to {high:.3f})"
            )
    return lines


def figure(rows: Sequence[dict[str, Any]], batch: int) -> str:
    """ECE and NLL against the learning rate, a column a world, at one B."""
    from more_ray.report.drawing import INK, colour, legend, marker, panels, standalone, svg

    worlds = list(dict.fromkeys(row["world"] for row in rows))
    shown = [row for row in rows if row["B"] == batch]
    with panels(2.1 * len(worlds), len(worlds), 2, sharex=True) as (canvas, all_axes):
        for place, (world, measure) in enumerate(product(worlds, ("ece", "nll"))):
            axes = all_axes[place]
            for index, scheme in enumerate(SCHEMES):
                line = [one for one in shown if (one["world"], one["scheme"]) == (world, scheme)]
                lr = np.array([one["lr"] for one in line]) * 1.04 ** (index - 1.5)
                value: Floats = np.array([one[measure] for one in line])
                ends = np.array([one[f"{measure}, 95%"] for one in line]).T
                axes.plot(lr, value, marker(index), color=colour(index), label=scheme, markersize=4)
                axes.plot(lr, value, color=colour(index), linewidth=0.8)
                axes.vlines(lr, *ends, color=colour(index), linewidth=1.5)
            best = best_of(rows, world, "uniform")[measure]
            axes.axhline(best, color=INK, linestyle=":", linewidth=1, label="uniform at its best")
            axes.set_xscale("log")
            axes.set_title(world)
            axes.set_ylabel(measure.upper())
        for axes in all_axes[-2:]:
            axes.set_xlabel("learning rate")
        legend(canvas, all_axes[0])
    text = f"ECE and NLL of one head for all, means over sources, B = {batch}."
    return standalone(svg(canvas, text))


if __name__ == "__main__":
    main()
