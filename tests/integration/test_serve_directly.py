"""A service of one replica, which listens itself instead of Serve's proxy."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import psutil
import pytest
import requests
from ray import serve
from support import free_ports, processes, wait_for

from more_ray.config import ModelConfig
from more_ray.config.serve import ServeConfig
from more_ray.errors import UserError
from more_ray.serve.app import serving
from more_ray.serve.guard import MAX_BODY, TOKEN_VARIABLE

pytestmark = pytest.mark.integration
TOKEN = "a token of this test"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
REPLICA = "ServeReplica:reward"
QUESTION = {"prompt": "How are plants watered?", "responses": ["With water.", "No."]}


@pytest.fixture(scope="module")
def config(trained: Path) -> ServeConfig:
    (port,) = free_ports(1)
    return ServeConfig(
        model=ModelConfig(path=str(trained / "model")), port=port, max_ongoing=8, max_queued=16
    )


@pytest.fixture(scope="module")
def url(config: ServeConfig) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN_VARIABLE, TOKEN)
        with serving(config) as address:
            yield address


def post(url: str) -> requests.Response:
    return requests.post(f"{url}/score", json=QUESTION, headers=HEADERS, timeout=60)


def test_the_replica_listens_on_loopback_alone_and_asks_for_the_token(
    url: str, config: ServeConfig
) -> None:
    (replica,) = processes(REPLICA)
    listening = [
        one.laddr for one in psutil.Process(replica.pid).net_connections() if one.status == "LISTEN"
    ]
    assert ("127.0.0.1", config.port) in listening
    assert not processes("ProxyActor")
    assert requests.get(f"{url}/healthz", timeout=10).text == "ok"
    assert requests.post(f"{url}/score", json=QUESTION, timeout=10).status_code == 401
    large = requests.post(f"{url}/score", data=b"x" * (MAX_BODY + 1), headers=HEADERS, timeout=10)
    assert large.status_code == 413
    by_handle = serve.get_app_handle("reward").score.remote(**QUESTION).result(timeout_s=30)
    assert post(url).json()["scores"] == pytest.approx(by_handle, abs=1e-5)


def test_a_full_service_says_so_at_once_and_nobody_hangs(url: str) -> None:
    body = {"prompt": "Which?", "responses": [f"{number} " * 30 for number in range(15)]}

    async def flood() -> list[int]:
        async with aiohttp.ClientSession(headers=HEADERS) as session:

            async def one() -> int:
                async with session.post(f"{url}/score", json=body) as answer:
                    return answer.status

            return await asyncio.gather(*(one() for _ in range(90)))

    statuses = asyncio.run(flood())
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 24


def test_a_killed_replica_is_back_within_seconds_on_the_same_port(url: str) -> None:
    """Clients that try again get their answer."""
    stop = threading.Event()
    answered: list[float] = []

    def client() -> None:
        while not stop.is_set():
            try:
                if post(url).status_code == 200:
                    answered.append(time.monotonic())
                    continue
            except requests.ConnectionError:
                pass
            time.sleep(0.1)

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client) for _ in range(4)]
        time.sleep(1)
        (replica,) = processes(REPLICA)
        replica.kill()
        killed = time.monotonic()
        wait_for(lambda: answered and answered[-1] > killed + 1, 60, "an answer", every=0.1)
        stop.set()
        for one in clients:
            one.result(timeout=60)
    (after,) = processes(REPLICA)
    assert after.pid != replica.pid


def test_several_replicas_are_refused(url: str, config: ServeConfig) -> None:
    several = config.changed(direct=True, max_replicas=2)
    serve.delete("reward")
    with pytest.raises(UserError, match="direct: true is for a single replica"), serving(several):
        pass
