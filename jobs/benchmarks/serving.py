"""The saturated reward service beside a direct loop, vLLM's server, and less clever servers.

make vllm
python jobs/benchmarks/serving.py model.path=outputs/mine/model data.root=FOLDER

All over loopback, with one replica and this machine's cores for it and for the clients together.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import aiohttp
import numpy as np
import torch
from pydantic import Field

from more_ray.cli import load_config, user_errors
from more_ray.config import DataConfig, ModelConfig, Section
from more_ray.device import SCORING_TOKENS

Request = dict[str, Any]
SERVICE, DIRECT = "service", "direct loop in full batches"


class ServingBenchmark(Section):
    model: ModelConfig
    """The reward model: a run's `model` folder."""
    data: DataConfig = DataConfig()
    """Whose test pairs are the requests: a prompt with both answers."""
    requests: int = Field(200, ge=1)
    """Pairs."""
    clients: int = Field(64, ge=1)
    """Requests under way at a time."""
    rounds: int = Field(3, ge=1)
    """Measurements of each kind, in turn; the median counts."""
    port: int = 8_765
    """Where each server listens in turn."""
    vllm: str | None = ".venv-vllm/bin/python"
    """The Python that has vLLM; null: without it."""


def main() -> None:
    config = load_config(ServingBenchmark, sys.argv[1:], __doc__)
    from record import record

    from more_ray.cluster import session

    pairs = read_requests(config.data, config.requests)
    seconds: dict[str, list[list[float]]] = {}
    with user_errors(), session(2, verbose=False):
        for _ in range(config.rounds):
            for name, each in a_round(config, pairs):
                seconds.setdefault(name, []).append(each)
    record("serving", config.model_dump(mode="json"), rows(seconds, 2 * len(pairs)))


def a_round(
    config: ServingBenchmark, pairs: Sequence[Request]
) -> Iterator[tuple[str, list[float]]]:
    """Each way to score, with the seconds of the whole and then of each request."""
    from more_ray.config.serve import ServeConfig

    served = ServeConfig(model=config.model, port=config.port, max_queued=10_000)
    alone = served.changed(batch_tokens=1)
    singles = [
        {"prompt": pair["prompt"], "responses": [one]}
        for pair in pairs
        for one in pair["responses"]
    ]
    yield SERVICE, load(served, pairs, config.clients)
    yield DIRECT, in_batches(served, pairs)
    yield "service behind Serve's proxy", load(served.changed(direct=False), pairs, config.clients)
    if config.vllm:
        yield "vLLM's server", by_vllm(config, pairs)
    yield "a server that scores one request at a time", load(alone, pairs, config.clients)
    yield "a server that scores one answer at a time", load(alone, singles, config.clients)


def read_requests(data: DataConfig, requests: int) -> list[Request]:
    """Prompts with both answers, from the test pairs of every source in turn."""
    from more_ray.data.records import Pair
    from more_ray.data.sources import iter_pairs, locate

    sources = locate(data)
    each = -(-requests // len(sources))
    found = [
        [pair for pair in iter_pairs(source, "test") if isinstance(pair, Pair)][:each]
        for source in sources
    ]
    mixed = [pair for several in zip(*found, strict=False) for pair in several]
    return [
        {"prompt": list(pair.prompt), "responses": [pair.chosen, pair.rejected]}
        for pair in mixed[:requests]
    ]


def load(service: Any, requests: Sequence[Request], clients: int) -> list[float]:
    """Seconds of the whole, then of each request, through a service that is started for it."""
    from more_ray.serve.app import serving

    with serving(service) as url:
        return measured(url, requests, clients)


def measured(
    url: str, requests: Sequence[Request], clients: int, path: str = "/score"
) -> list[float]:
    """Seconds of the whole, then of each request."""
    asyncio.run(ask(url + path, requests[:8], clients))  # warm
    started = time.perf_counter()
    each = asyncio.run(ask(url + path, requests, clients))
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
    async with session.post(url, json=request) as answer:
        assert answer.status == status, await answer.text()
        await answer.read()
    return time.perf_counter() - started


def in_batches(service: Any, requests: Sequence[Request]) -> list[float]:
    """Seconds of the whole, then of each batch as full as the service's."""
    import ray

    direct = make_direct(service)
    each = ray.get(direct.seconds_of_batches.remote(requests, SCORING_TOKENS["cpu"]))
    ray.kill(direct)
    return [sum(each), *each]


def by_vllm(config: ServingBenchmark, requests: Sequence[Request]) -> list[float]:
    """As `load`, by vLLM's pooling server, of the same texts."""
    from vllm_process import vllm_server

    from more_ray.data.formatting import render
    from more_ray.model.loading import load_reward_tokenizer

    tokenizer = load_reward_tokenizer(config.model, None)
    path = os.path.abspath(config.model.path)
    bodies = [
        {
            "model": path,
            "input": [render(tokenizer, one["prompt"], text) for text in one["responses"]],
            "use_activation": False,
        }
        for one in requests
    ]
    options = ["--runner", "pooling", "--dtype", "float32", "--enforce-eager"]
    with vllm_server(config.vllm, path, config.port, options) as url:
        return measured(url, bodies, config.clients, "/classify")


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


def rows(seconds: dict[str, list[list[float]]], answers: int) -> list[dict[str, Any]]:
    """A row a way of scoring; ratios within a round, then their median."""
    whole = {name: np.array([one[0] for one in rounds]) for name, rounds in seconds.items()}
    return [
        {
            "scoring": name,
            "answers/s": float(np.median(answers / whole[name])),
            "of the direct loop": float(np.median(whole[DIRECT] / whole[name])),
            "the service's times this": float(np.median(whole[name] / whole[SERVICE])),
            "least": float(min(whole[name] / whole[SERVICE])),
            "most": float(max(whole[name] / whole[SERVICE])),
            "median ms": float(1e3 * np.median([one[1:] for one in rounds])),
        }
        for name, rounds in seconds.items()
    ]


if __name__ == "__main__":
    main()
