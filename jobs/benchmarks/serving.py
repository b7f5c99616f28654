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

from more_ray.cli import load_config, user_errors
from more_ray.config import DataConfig, ModelConfig, Section
from more_ray.device import SCORING_TOKENS

Request = dict[str, Any]
FEW = 50
"""Requests of which one is under way at a time."""
REFUSED = "service, refused"
"""Requests that come all the way to the API, where nothing is computed."""


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
    """Settings of the service."""


def main() -> None:
    config = load_config(ServingBenchmark, sys.argv[1:], __doc__)
    from record import record

    from more_ray.cluster import session
    from more_ray.config.serve import ServeConfig

    pairs = read_requests(config)
    singles = [
        {"prompt": pair["prompt"], "responses": [one]}
        for pair in pairs
        for one in pair["responses"]
    ]
    served = ServeConfig(model=config.model, port=config.port, max_queued=10_000)
    alone = served.changed(batch_tokens=1)
    seconds: dict[str, list[list[float]]] = {}
    with user_errors(), session(2, verbose=False):
        direct = make_direct(served)
        for _ in range(config.rounds):
            for name, service, requests in (
                ("service, saturated", served, pairs),
                ("one request at a time", alone, pairs),
                ("one answer at a time", alone, singles),
            ):
                each = load(service, requests, config.clients)
                seconds.setdefault(name, []).append(each)
            seconds.setdefault("direct loop", []).append(in_batches(direct, served, pairs))
            for name, each in lone(served, direct, pairs[:FEW]).items():
                seconds.setdefault(name, []).append(each)
    record("serving", config.model_dump(mode="json"), rows(seconds, pairs))


def read_requests(config: ServingBenchmark) -> list[Request]:
    """Prompts with both answers, from the test pairs of every source in turn."""
    from more_ray.data.records import Pair
    from more_ray.data.sources import iter_pairs, locate

    sources = locate(config.data)
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
                return await post(session, url, request)

        return await asyncio.gather(*map(one, requests))


async def post(
    session: aiohttp.ClientSession, url: str, request: Request, status: int = 200
) -> float:
    """Seconds until it is answered."""
    started = time.perf_counter()
    async with session.post(f"{url}/score", json=request) as answer:
        assert answer.status == status, await answer.text()
        await answer.read()
    return time.perf_counter() - started


def lone(service: Any, direct: Any, requests: Sequence[Request]) -> dict[str, list[float]]:
    """As `load` for one client; directly, in turn with it; and refused for its lack of answers."""
    import ray

    from more_ray.serve.app import serving

    over_http, directly, refused = [], [], []

    async def in_turn(url: str) -> None:
        async with aiohttp.ClientSession() as session:
            for request in requests:
                over_http.append(await post(session, url, request))
                directly.append(ray.get(direct.seconds.remote([request])))
                refused.append(await post(session, url, {**request, "responses": []}, 422))

    with serving(service) as url:
        asyncio.run(ask(url, requests[:8], 1))  # warm
        asyncio.run(in_turn(url))
    return {
        "service, one client": [sum(over_http), *over_http],
        "direct, one request": [sum(directly), *directly],
        REFUSED: [sum(refused), *refused],
    }


def in_batches(direct: Any, service: Any, requests: Sequence[Request]) -> list[float]:
    """Seconds of the whole, then of each batch as full as the service's."""
    import ray

    each = ray.get(direct.seconds_of_batches.remote(requests, SCORING_TOKENS["cpu"]))
    return [sum(each), *each]


def make_direct(service: Any) -> Any:
    """A process like a replica's, without the service."""
    import ray

    from more_ray.cluster import WORKER_ENVIRONMENT

    environment = {"env_vars": WORKER_ENVIRONMENT}
    return ray.remote(Direct).options(num_cpus=1, runtime_env=environment).remote(service)


class Direct:
    """Scores without a service."""

    def __init__(self, service: Any) -> None:
        from more_ray.model.scorer import Scorer

        torch.set_num_threads(os.cpu_count() or 1)
        self._scorer = Scorer(service.model)

    def seconds(self, requests: Sequence[Request]) -> float:
        """Seconds of a batch."""
        started = time.perf_counter()
        self._scorer.scores([self._scorer.answers(**request) for request in requests])
        return time.perf_counter() - started

    def seconds_of_batches(self, requests: Sequence[Request], limit: int) -> list[float]:
        """Seconds of all requests in batches of at most `limit` tokens."""
        batches: list[list[Request]] = [[]]
        tokens = 0
        for request in requests:
            size = self._scorer.tokens(self._scorer.answers(**request))
            if batches[-1] and tokens + size > limit:
                batches.append([])
                tokens = 0
            batches[-1].append(request)
            tokens += size
        self.seconds(batches[0])  # warm
        return [self.seconds(batch) for batch in batches]


def rows(seconds: dict[str, list[list[float]]], pairs: Sequence[Request]) -> list[dict[str, Any]]:
    """A row a way of scoring; ratios of answers/s of the same round, then the median of rounds."""
    few = 2 * len(pairs[:FEW])
    answers = {"service, one client": few, "direct, one request": few}
    refused = seconds.pop(REFUSED)
    added = np.subtract(seconds["service, one client"], seconds["direct, one request"])[:, 1:]
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
        if name == "service, one client":
            result[-1]["ms more than direct"] = float(1e3 * np.median(added))
            result[-1]["ms of one that is refused"] = float(
                1e3 * np.median([one[1:] for one in refused])
            )
    return result


if __name__ == "__main__":
    main()
