"""What a lone request to the reward service takes beyond its forward pass, and Ray's part in that.

python jobs/benchmarks/serving_lone.py model.path=outputs/mine/model data.root=FOLDER

Over loopback; each request in turn with the same scored directly, first or second, and with one
that is refused. Before each is a pause, as what follows at once finds the processor warm.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import aiohttp
import numpy as np
from fastapi import FastAPI
from pydantic import Field
from serving import WARM_UP, Request, make_direct, post, read_requests

from more_ray.cli import load_config, user_errors
from more_ray.config import DataConfig, ModelConfig, Section

PAUSE = 0.05
"""Seconds."""


class LoneBenchmark(Section):
    model: ModelConfig
    """The reward model: a run's `model` folder."""
    data: DataConfig = DataConfig()
    """Whose test pairs are the requests: a prompt with both answers."""
    requests: int = Field(50, ge=1)
    """Pairs."""
    rounds: int = Field(3, ge=1)
    """Measurements of each kind, in turn; medians are over all."""
    port: int = 8_765
    """Where the service listens."""


def main() -> None:
    config = load_config(LoneBenchmark, sys.argv[1:], __doc__)
    from record import record

    from more_ray.cluster import session
    from more_ray.config.serve import ServeConfig

    served = ServeConfig(model=config.model, port=config.port)
    ways = {"service": served, "service behind Serve's proxy": served.changed(direct=False)}
    lasted: dict[str, list[np.ndarray]] = {}
    with user_errors(), session(2, verbose=False):
        pairs = read_requests(config.data, WARM_UP + config.requests)
        direct = make_direct(config.model)
        for _ in range(config.rounds):
            for name, service in ways.items():
                lasted.setdefault(name, []).append(in_turn(service, direct, pairs))
        empty = through_an_empty_deployment(config.port, pairs)
    rows = []
    for name, rounds in lasted.items():
        ms_N3 = 1e3 * np.concatenate(rounds)
        rows.append(
            {
                "way": name,
                "ms": float(np.median(ms_N3[:, 0])),
                "directly, ms": float(np.median(ms_N3[:, 1])),
                "more, ms": float(np.median(ms_N3[:, 0] - ms_N3[:, 1])),
                "if refused, ms": float(np.median(ms_N3[:, 2])),
            }
        )
    ms = float(1e3 * np.median(empty))
    rows.append({"way": "an empty deployment behind Serve's proxy", "ms": ms})
    record("serving_lone", config.model_dump(mode="json"), rows)


def in_turn(service: Any, direct: Any, pairs: Sequence[Request]) -> np.ndarray:
    """`[N, 3]` seconds of each pair after the first few: served, scored directly, and refused for
    lack of answers."""
    import ray

    from more_ray.serve.app import serving

    async def ask(url: str) -> list[tuple[float, float, float]]:
        async with aiohttp.ClientSession() as session:

            async def served(pair: Request) -> float:
                await asyncio.sleep(PAUSE)
                return await post(session, url, pair)

            async def scored(pair: Request) -> float:
                await asyncio.sleep(PAUSE)
                return ray.get(direct.seconds.remote([pair]))

            lasted = []
            for number, pair in enumerate(pairs):
                if number % 2:
                    both = await served(pair), await scored(pair)
                else:
                    both = (await scored(pair), await served(pair))[::-1]
                refused = await post(session, url, {**pair, "responses": []}, 422)
                lasted.append((*both, refused))
            return lasted

    with serving(service) as url:
        return np.array(asyncio.run(ask(f"{url}/score"))[WARM_UP:])


class Empty:
    """A deployment that answers at once."""

    def __serve_build_asgi_app__(self) -> FastAPI:
        api = FastAPI()

        @api.post("/score")
        async def score() -> dict[str, Any]:
            return {"scores": [0.0, 0.0]}

        return api


def through_an_empty_deployment(port: int, pairs: Sequence[Request]) -> list[float]:
    """Seconds of each request, as Serve itself needs them."""
    from ray import serve

    async def ask() -> list[float]:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}/score"
            return [await post(session, url, pair) for pair in [*pairs, *pairs]]

    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(serve.deployment(serve.ingress()(Empty)).bind(), name="empty")
        return asyncio.run(ask())[len(pairs) :]
    finally:
        serve.shutdown()


if __name__ == "__main__":
    main()
