"""The reward service against a direct loop, and against servers that score one at a time.

python jobs/benchmarks/serving.py model.path=outputs/mine/model data.root=FOLDER

All over loopback, with one replica and this machine's cores for it and for the clients together.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
import numpy as np
import torch
from pydantic import Field

from more_ray.cli import load_config
from more_ray.config import DataConfig, ModelConfig, Section

Request = dict[str, Any]
FEW = 50
"""Requests of which one is under way at a time."""


class ServingBenchmark(Section):
    model: ModelConfig
    """The reward model: a run's `model` folder."""
    data: DataConfig = DataConfig()
    """Whose test pairs are the requests: a prompt with both answers."""
    requests: int = Field(200, ge=1)
    """Pairs."""
    clients: int = Field(64, ge=1)
    """Requests under way at a time at saturation."""
    rounds: int = Field(3, ge=1)
    """Measurements of each kind, in turn; the median counts."""
    port: int = 8_765
    """Of the service."""


def main() -> None:
    config = load_config(ServingBenchmark, sys.argv[1:], __doc__)
    from record import record

    from more_ray.cluster import session
    from more_ray.serve.config import ServeConfig

    pairs = read_requests(config)
    singles = [
        {"prompt": pair["prompt"], "responses": [one]}
        for pair in pairs
        for one in pair["responses"]
    ]
    served = ServeConfig(model=config.model, port=config.port, max_queued=10_000)
    alone = served.model_copy(update={"batch_tokens": 1})
    seconds: dict[str, list[list[float]]] = {}
    with session(1, verbose=False):
        for _ in range(config.rounds):
            for name, service, requests, clients in (
                ("service, saturated", served, pairs, config.clients),
                ("service, one client", served, pairs[:FEW], 1),
                ("one request at a time", alone, pairs, config.clients),
                ("one answer at a time", alone, singles, config.clients),
            ):
                each = load(service, requests, clients)
                seconds.setdefault(name, []).append(each)
            for name, requests, together in (
                ("direct loop", pairs, True),
                ("direct, one request", pairs[:FEW], False),
            ):
                seconds.setdefault(name, []).append(directly(served, requests, together))
    record("serving", config.model_dump(mode="json"), rows(seconds, pairs))


def read_requests(config: ServingBenchmark) -> list[Request]:
    """Prompts with both answers, from the test pairs of every source in turn."""
    from more_ray.data.records import Pair
    from more_ray.data.sources import iter_pairs, locate

    sources = locate(config.data.sources, config.data.root)
    each = -(-config.requests // len(sources))
    found = [
        [pair for pair in iter_pairs(source, "test") if isinstance(pair, Pair)][:each]
        for source in sources
    ]
    mixed = [pair for several in zip(*found, strict=False) for pair in several]
    return [
        {"prompt": list(pair.prompt), "responses": [pair.chosen, pair.rejected]}
        for pair in mixed[: config.requests]
    ]


def load(service: Any, requests: Sequence[Request], clients: int) -> list[float]:
    """Seconds of the whole, then of each request, through a service that is started for it."""
    from more_ray.serve.app import serving

    with serving(service) as url:
        asyncio.run(ask(url, requests[:8], clients))  # warm
        started = time.perf_counter()
        each = asyncio.run(ask(url, requests, clients))
        return [time.perf_counter() - started, *each]


async def ask(url: str, requests: Sequence[Request], clients: int) -> list[float]:
    """Seconds of each request, `clients` of them under way at a time."""
    free = asyncio.Semaphore(clients)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(request: Request) -> float:
            async with free:
                started = time.perf_counter()
                async with session.post(f"{url}/score", json=request) as answer:
                    answer.raise_for_status()
                    await answer.read()
                return time.perf_counter() - started

        return await asyncio.gather(*map(one, requests))


def directly(service: Any, requests: Sequence[Request], together: bool) -> list[float]:
    """`direct` in a process like a replica's."""
    import ray

    from more_ray.cluster import WORKER_ENVIRONMENT

    task = ray.remote(direct).options(runtime_env={"env_vars": WORKER_ENVIRONMENT})
    return ray.get(task.remote(service, requests, together))


def direct(service: Any, requests: Sequence[Request], together: bool) -> list[float]:
    """The same without a service, in batches as full as the service's or a request at a time."""
    from more_ray.serve.scorer import Scorer

    torch.set_num_threads(os.cpu_count() or 1)
    scorer = Scorer(service)
    scorer.scores([scorer.answers(**requests[0])])  # warm
    limit = service.batch_tokens if together else 1
    batch: list[Any] = []
    started, each = time.perf_counter(), []
    for request in requests:
        begun = time.perf_counter()
        answers = scorer.answers(**request)
        if batch and sum(map(scorer.tokens, [*batch, answers])) > limit:
            scorer.scores(batch)
            batch = []
        batch.append(answers)
        if not together:
            scorer.scores(batch)
            batch = []
        each.append(time.perf_counter() - begun)
    if batch:
        scorer.scores(batch)
    return [time.perf_counter() - started, *each]


def rows(seconds: dict[str, list[list[float]]], pairs: Sequence[Request]) -> list[dict[str, Any]]:
    """A row a way of scoring; ratios of answers/s of the same round, then the median of rounds."""
    few = 2 * len(pairs[:FEW])
    answers = {"service, one client": few, "direct, one request": few}
    result = []
    for name, rounds in seconds.items():
        whole_R = np.array([one[0] for one in rounds])
        scored = answers.get(name, 2 * len(pairs))
        saturated_R = 2 * len(pairs) / np.array([one[0] for one in seconds["service, saturated"]])
        result.append(
            {
                "scoring": name,
                "answers": scored,
                "answers/s": float(np.median(scored / whole_R)),
                "service's times this": float(np.median(saturated_R / (scored / whole_R))),
                "median ms": float(1e3 * np.median([one[1:] for one in rounds])),
            }
        )
    return result


if __name__ == "__main__":
    main()
