"""The min-norm solver against TorchJD's MGDA and a general QP solver: time and duality gap.

pip install -e '.[bench]'
python jobs/benchmarks/solver.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from pydantic import Field

from more_ray.cli import load_config
from more_ray.config import Section


class SolverBenchmark(Section):
    sources: list[int] = Field([2, 5, 16, 64, 256, 1000], min_length=1)
    """K, the numbers of sources."""
    hidden_size: int = Field(2_048, ge=1)
    """H, the width of a gradient (2,048: Pythia-1.4B)."""
    instances: int = Field(9, ge=1)
    """Random sets of gradients a K: a shared direction of three strengths, and noise."""
    repeats: int = Field(20, ge=1)
    """Solves of each, of which the median counts (fewer where one takes long)."""
    mgda_epsilon: float = Field(1e-3, gt=0)
    """Where TorchJD stops; its default."""
    mgda_iterations: int = Field(100, ge=1)
    """After how many iterations TorchJD stops at the latest; its default."""


def main() -> None:
    config = load_config(SolverBenchmark, sys.argv[1:], __doc__)
    from record import record

    rows = []
    for sources in config.sources:
        grams = [gram(sources, config.hidden_size, seed) for seed in range(config.instances)]
        for name, solve in solvers(config).items():
            measured = [measure(solve, one, config.repeats) for one in grams]
            seconds, gaps = zip(*measured, strict=True)
            rows.append(
                {
                    "K": sources,
                    "solver": name,
                    "median us": 1e6 * float(np.median(seconds)),
                    "slowest us": 1e6 * max(seconds),
                    "largest relative gap": max(gaps),
                }
            )
    record("solver", config.model_dump(mode="json"), rows)


def gram(sources: int, hidden_size: int, seed: int) -> np.ndarray:
    """Gradients of different lengths that share a direction weakly, more, or not at all."""
    rng = np.random.default_rng(seed)
    length_K1 = np.exp(0.5 * rng.normal(size=(sources, 1)))
    grad_KH = length_K1 * rng.normal(size=(sources, hidden_size))
    grad_KH += [0.0, 0.1, 1.0][seed % 3] * rng.normal(size=hidden_size)
    return grad_KH @ grad_KH.T


def solvers(config: SolverBenchmark) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    import quadprog
    import torch
    from torchjd.aggregation import MGDAWeighting

    from more_ray.objective.min_norm import min_norm_weights

    mgda = MGDAWeighting(epsilon=config.mgda_epsilon, max_iters=config.mgda_iterations)

    def qp(gram_KK: np.ndarray) -> np.ndarray:
        sources = len(gram_KK)
        constraints = np.column_stack([np.ones(sources), np.eye(sources)])
        bounds = np.r_[1.0, np.zeros(sources)]
        scaled = gram_KK / gram_KK.diagonal().max()
        return quadprog.solve_qp(scaled, np.zeros(sources), constraints, bounds, meq=1)[0]

    return {
        "active_set": min_norm_weights,
        "frank_wolfe": lambda gram_KK: min_norm_weights(gram_KK, "frank_wolfe"),
        "TorchJD MGDA": lambda gram_KK: mgda(torch.from_numpy(gram_KK)).numpy(),
        "quadprog": qp,
    }


def measure(
    solve: Callable[[np.ndarray], np.ndarray], gram_KK: np.ndarray, repeats: int
) -> tuple[float, float]:
    """Median seconds, and the duality gap relative to the largest squared norm."""
    from more_ray.objective.min_norm import duality_gap

    started = time.perf_counter()
    lam_K = solve(gram_KK)
    first = time.perf_counter() - started
    seconds = []
    for _ in range(repeats if first < 0.1 else 2):
        started = time.perf_counter()
        solve(gram_KK)
        seconds.append(time.perf_counter() - started)
    gap = duality_gap(gram_KK, np.maximum(lam_K, 0)) / gram_KK.diagonal().max()
    return float(np.median(seconds)), gap


if __name__ == "__main__":
    main()
