"""The saturated reward service beside a direct loop, vLLM's server, and less clever servers.

make vllm
python jobs/benchmarks/serving.py model.path=outputs/mine/model data.root=FOLDER

All over loopback, with one replica and this machine's cores for it and for the clients together.
A machine's speed drifts within a minute, so each server is measured in turn with the direct loop.
Every round has pairs of its own: a server that keeps prompts would only be asked what it knows.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import aiohttp
import numpy as np
import torch
from pydantic import Field

from more_ray.cli import load_config, user_errors
from more_ray.config import DataConfig, ModelConfig, Section
from more_ray.device import SCORING_TOKENS
from more_ray.errors import UserError

Request = dict[str, Any]
WARM_UP = 8
"""Pairs that are asked before the first round."""


class ServingBenchmark(Section):
    model: ModelConfig
    """The reward model: a run's `model` folder."""
    data: DataConfig = DataConfig()
    """Whose test pairs are the requests: a prompt with both answers."""
    requests: int = Field(100, ge=1)
    """Pairs of a round; every round has others, so that no prompt comes again."""
    clients: int = Field(64, ge=1)
    """Requests under way at a time."""
    rounds: int = Field(7, ge=1)
    """Measurements of each server, each beside one of the direct loop; the median counts."""
    port: int = 8_765
    """Where each server listens in turn."""
    vllm: str | None = ".venv-vllm/bin/python"
    """The Python that has vLLM; null: without it."""


def main() -> None:
    config = load_config(ServingBenchmark, sys.argv[1:], __doc__)
    from record import record

    from more_ray.cluster import session

    with user_errors(), session(2, verbose=False):
        pairs = read_requests(config.data, WARM_UP + config.rounds * config.requests)
        direct = make_direct(config.model)
        rows = [
            row(name, 2 * config.requests, *measure(config, direct, pairs, *server))
            for name, *server in servers(config)
        ]
    record("serving", config.model_dump(mode="json"), rows)


Form = Callable[[Sequence[Request]], Sequence[Request]]
Server = tuple[str, AbstractContextManager[str], str, Form]
"""Its name, how it runs, the path of its requests, and how these are made of pairs."""


def servers(config: ServingBenchmark) -> Iterator[Server]:
    from more_ray.config.serve import ServeConfig
    from more_ray.serve.app import serving

    served = ServeConfig(model=config.model, port=config.port, max_queued=10_000)
    yield "service", serving(served), "/score", list
    yield "service behind Serve's proxy", serving(served.changed(direct=False)), "/score", list
    if config.vllm:
        yield vllm(config)
    alone = served.changed(batch_tokens=1, prompt_cache_mib=0)
    yield "one request at a time", serving(alone), "/score", list
    yield "one answer at a time", serving(alone), "/score", singles


def singles(pairs: Sequence[Request]) -> list[Request]:
    return [
        {"prompt": pair["prompt"], "responses": [one]}
        for pair in pairs
        for one in pair["responses"]
    ]


def vllm(config: ServingBenchmark) -> Server:
    """vLLM's pooling server, asked for the same texts."""
    from vllm_process import vllm_server

    from more_ray.data.formatting import render
    from more_ray.model.loading import load_reward_tokenizer

    tokenizer = load_reward_tokenizer(config.model, None)
    path = os.path.abspath(config.model.path)

    def texts(pairs: Sequence[Request]) -> list[Request]:
        return [
            {
                "model": path,
                "input": [render(tokenizer, one["prompt"], text) for text in one["responses"]],
                "use_activation": False,
            }
            for one in pairs
        ]

    options = ["--runner", "pooling", "--dtype", "float32", "--enforce-eager"]
    assert config.vllm
    server = vllm_server(config.vllm, path, config.port, options)
    return "vLLM's pooling server", server, "/classify", texts


def measure(
    config: ServingBenchmark,
    direct: Any,
    pairs: Sequence[Request],
    server: AbstractContextManager[str],
    path: str,
    form: Form,
) -> tuple[list[list[float]], list[float]]:
    """Of each round: the seconds of the whole and of each request, and those of the direct loop."""
    import ray

    served, directly = [], []
    with server as url:
        asyncio.run(ask(url + path, form(pairs[:WARM_UP]), config.clients))
        for first in range(WARM_UP, len(pairs), config.requests):
            of_round = pairs[first : first + config.requests]
            requests = form(of_round)
            started = time.perf_counter()
            each = asyncio.run(ask(url + path, requests, config.clients))
            served.append([time.perf_counter() - started, *each])
            directly.append(ray.get(direct.seconds_of_batches.remote(of_round)))
    return served, directly


def row(
    name: str, answers: int, served: list[list[float]], directly: list[float]
) -> dict[str, Any]:
    seconds_R, direct_R = np.array([one[0] for one in served]), np.array(directly)
    share_R = direct_R / seconds_R
    return {
        "server": name,
        "answers/s": float(np.median(answers / seconds_R)),
        "of the direct loop": float(np.median(share_R)),
        "least": float(share_R.min()),
        "most": float(share_R.max()),
        "median ms": float(1e3 * np.median([one[1:] for one in served])),
        "direct, answers/s": float(np.median(answers / direct_R)),
    }


def read_requests(data: DataConfig, requests: int) -> list[Request]:
    """Prompts with both answers, from the test pairs of every source in turn.

    Raises:
        UserError: there are fewer, or no files.
    """
    from more_ray.data.records import Pair
    from more_ray.data.sources import iter_pairs, locate

    sources = locate(data)
    if not sources:
        raise UserError("data.root: a folder of sources is needed")
    each = -(-requests // len(sources))
    found = [
        [pair for pair in iter_pairs(source, "test") if isinstance(pair, Pair)][:each]
        for source in sources
    ]
    mixed = [pair for several in zip(*found, strict=False) for pair in several]
    if len(mixed) < requests:
        raise UserError(f"data: {requests} test pairs are needed; there are {len(mixed)}")
    return [
        {"prompt": list(pair.prompt), "responses": [pair.chosen, pair.rejected]}
        for pair in mixed[:requests]
    ]


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


def make_direct(model: ModelConfig) -> Any:
    """A process like a replica's, without the service."""
    import ray

    from more_ray.cluster import WORKER_ENVIRONMENT

    environment = {"env_vars": WORKER_ENVIRONMENT}
    return ray.remote(Direct).options(num_cpus=1, runtime_env=environment).remote(model)


class Direct:
    """Scores without a service."""

    def __init__(self, model: ModelConfig) -> None:
        from more_ray.model.scorer import Scorer

        torch.set_num_threads(os.cpu_count() or 1)
        self._scorer = Scorer(model)

    def seconds(self, requests: Sequence[Request]) -> float:
        """Seconds of a batch."""
        started = time.perf_counter()
        self._scorer.scores([self._scorer.answers(**request) for request in requests])
        return time.perf_counter() - started

    def seconds_of_batches(self, requests: Sequence[Request]) -> float:
        """Seconds of all requests in batches as full as the service's."""
        batches: list[list[Request]] = [[]]
        tokens = 0
        for request in requests:
            size = self._scorer.tokens(self._scorer.answers(**request))
            if batches[-1] and tokens + size > SCORING_TOKENS["cpu"]:
                batches.append([])
                tokens = 0
            batches[-1].append(request)
            tokens += size
        return sum(map(self.seconds, batches))


if __name__ == "__main__":
    main()
