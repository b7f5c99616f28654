"""How long it takes to fit a shared head and drifts to N pairs of H features, and how exactly.

OMP_NUM_THREADS=1 python jobs/benchmarks/head_fit.py pairs=20000 hidden_size=1024

The features are random but stretched like hidden states, whose longest directions are hundreds
of times the shortest, and differently for each source. Fits begin at zero; `once more` begins at
the fit with both ridges three times as large, as cross-validation does. A pass reads all features
once, for one gradient or one product with the Hessian. Fits of more pairs take as many passes, so
a fit's time grows with N H, the spectrum's with H^3, the posterior's with N H^2 + K H^3. On a
machine that others use, the CPU seconds of one thread say more than those of the clock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field

from more_ray.cli import load_config
from more_ray.config import Section


class HeadFitBenchmark(Section):
    pairs: int = Field(20_000, ge=10)
    """N, over all sources."""
    hidden_size: int = Field(1_024, ge=1)
    """H."""
    sources: int = Field(5, ge=2)
    """K."""
    shared_ridge: float = Field(3.0, gt=0)
    """a0, in units of the mean eigenvalue of the pooled curvature. On the hidden states of a real
    trunk cross-validation chose 10."""
    drift_ridge: float = Field(3.0, gt=0)
    """a1, in the same units; there it chose 3."""
    seed: int = 0
    """Seed of the features."""


def main() -> None:
    config = load_config(HeadFitBenchmark, sys.argv[1:], __doc__ or "")
    from record import record

    from more_ray.calibrate.coordinates import pooled_spectrum
    from more_ray.calibrate.heads import fit_heads, objective
    from more_ray.calibrate.objective import loss_and_gradient
    from more_ray.calibrate.posterior import laplace
    from more_ray.model.heads_file import Ridge

    pairs = hidden_state_pairs(config)
    rows: list[dict[str, Any]] = []

    def measured(what: str, work: Callable[[], Any]) -> Any:
        started, cpu_started = time.perf_counter(), time.process_time()
        result = work()
        rows.append(
            {
                "what": what,
                "seconds": time.perf_counter() - started,
                "CPU seconds": time.process_time() - cpu_started,
                "gradient norm": "-",
            }
        )
        return result

    def exactness(heads: Any) -> None:
        _, grad_H, grad_KH, _ = objective(pairs, ridge, np.zeros(config.hidden_size), heads)
        rows[-1]["gradient norm"] = float(np.sqrt((grad_H**2).sum() + (grad_KH**2).sum()))

    head_KH = np.zeros((config.sources, config.hidden_size))
    measured("a pass", lambda: loss_and_gradient(pairs, head_KH))
    spectrum = measured("spectrum", lambda: pooled_spectrum(pairs))
    scale = float(spectrum.value_H.mean())
    ridge = Ridge(config.shared_ridge * scale, config.drift_ridge * scale)
    near = Ridge(3 * ridge.shared, 3 * ridge.drift)
    near_heads = fit_heads(pairs, near, spectrum=spectrum, tolerance=np.inf)
    heads = measured("fit", lambda: fit_heads(pairs, ridge, spectrum=spectrum))
    exactness(heads)
    again = measured(
        "once more, as cross-validation does",
        lambda: fit_heads(pairs, ridge, start=near_heads, spectrum=spectrum, tolerance=np.inf),
    )
    exactness(again)
    measured("posterior of all heads", lambda: laplace(pairs, heads, ridge))
    record(f"head_fit-{config.pairs}x{config.hidden_size}", config.model_dump(mode="json"), rows)


def hidden_state_pairs(config: HeadFitBenchmark) -> Any:
    """`Pairs` with labels of true heads whose reward differences have about unit variance."""
    from more_ray.calibrate.pairs import make_pairs
    from more_ray.metrics.calibration import sigmoid

    rng = np.random.default_rng(config.seed)
    hidden = config.hidden_size
    source_N = rng.integers(config.sources, size=config.pairs)
    # Standard deviations fall like a power of the rank, as they do in a real trunk.
    length_H = np.arange(1, hidden + 1) ** -0.75
    stretch_KH = length_H * np.exp(0.5 * rng.standard_normal((config.sources, hidden)))
    head_KH = rng.standard_normal(hidden) + 0.5 * rng.standard_normal((config.sources, hidden))
    head_KH /= np.sqrt((stretch_KH**2 * head_KH**2).sum(axis=1, keepdims=True))
    dz_NH = np.empty((config.pairs, hidden), np.float32)
    for first in range(0, config.pairs, 1_024):
        rows = slice(first, first + 1_024)
        source_B = source_N[rows]
        dz_BH = rng.standard_normal((len(source_B), hidden), np.float32) * stretch_KH[source_B]
        delta_B = (dz_BH * head_KH[source_B]).sum(axis=1)
        dz_BH[rng.random(len(source_B)) > sigmoid(delta_B)] *= -1
        # Directions are no axes of the features: one reflection mixes them all.
        mirror_H = np.ones(hidden) / np.sqrt(hidden)
        dz_NH[rows] = dz_BH - 2 * np.outer(dz_BH @ mirror_H, mirror_H)
    return make_pairs(dz_NH, source_N, [f"source_{one + 1}" for one in range(config.sources)])


if __name__ == "__main__":
    main()
