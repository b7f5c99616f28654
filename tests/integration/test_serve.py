"""The reward service: a real Serve, real HTTP, a model that was trained here."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import ray
import requests
from ray import serve
from support import free_ports, processes, wait_for, write_broken_model

from more_ray.config import ModelConfig
from more_ray.config.serve import ServeConfig
from more_ray.data.reading import pair_id
from more_ray.data.simulated import Simulator
from more_ray.errors import UserError
from more_ray.evaluate.files import read_scores
from more_ray.serve.api import NotFiniteError
from more_ray.serve.app import build_app, scoring, serving
from more_ray.serve.guard import MAX_BODY, TOKEN_VARIABLE

pytestmark = pytest.mark.integration
TOKEN = "a token of this test"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
REPORT_INTERVAL = "RAY_metrics_report_interval_ms"
REPLICA = "ServeReplica:reward"
QUESTION = {"prompt": "How are plants watered?", "responses": ["With water.", "No."]}


@pytest.fixture(scope="module")
def url(trained: Path) -> Iterator[str]:
    """Two replicas of the trained model behind a token."""
    (port,) = free_ports(1)
    config = ServeConfig(
        model=ModelConfig(path=str(trained / "model")),
        port=port,
        min_replicas=2,
        max_replicas=2,
        max_ongoing=8,
        max_queued=16,
        timeout=30,
        batch_tokens=2_000,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN_VARIABLE, TOKEN)
        with serving(config) as address:
            yield address


def post(url: str, path: str, body: Any, **options: Any) -> requests.Response:
    return requests.post(f"{url}{path}", json=body, timeout=60, headers=HEADERS, **options)


def test_served_scores_are_those_of_training_whatever_the_batch_mates(
    url: str, trained: Path
) -> None:
    simulator = Simulator(3)
    expected = read_scores(str(trained))
    pairs = {
        pair_id(pair): pair
        for name in simulator.names()
        for pair in simulator.pairs(name, "test", 0, 60)
    }
    wanted = [
        (pairs[int(key)], [float(chosen), float(rejected)])
        for one in expected.values()
        for key, chosen, rejected in zip(one.pair_N, one.chosen_N, one.rejected_N, strict=True)
    ]

    def score(pair: Any) -> list[float]:
        body = {"prompt": list(pair.prompt), "responses": [pair.chosen, pair.rejected]}
        while (answer := post(url, "/score", body)).status_code == 503:
            time.sleep(0.05)
        return answer.json()["scores"]

    with ThreadPoolExecutor(12) as pool:
        served = list(pool.map(score, [pair for pair, _ in wanted]))
    assert len(served) == 180
    for scores, (_, rewards) in zip(served, wanted, strict=True):
        assert scores == pytest.approx(rewards, abs=1e-5)

    pair, rewards = wanted[0]
    whole = [*pair.prompt, {"role": "assistant", "content": pair.chosen}]
    assert post(url, "/score", {"messages": whole}).json()["scores"] == pytest.approx(
        rewards[:1], abs=1e-5
    )
    text = f"Human: {pair.prompt[-1]['content']}\n\nAssistant: {pair.chosen}"
    answer = post(url, "/get_reward", {"query": [text], "prompts": ["x"], "labels": ["y"]})
    assert answer.json() == {"rewards": pytest.approx(rewards[:1], abs=1e-5)}
    handle = serve.get_app_handle("reward")
    by_handle = handle.score.remote(
        prompt=list(pair.prompt), responses=[pair.chosen, pair.rejected]
    )
    assert by_handle.result(timeout_s=30) == pytest.approx(rewards, abs=1e-5)


def test_what_is_refused(url: str) -> None:
    assert requests.get(f"{url}/healthz", timeout=10).text == "ok"
    for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": TOKEN}):
        for path in ("/score", "/get_reward", "/classify", "/pooling"):
            answer = requests.post(url + path, json=QUESTION, headers=headers, timeout=10)
            assert answer.status_code == 401
        assert requests.get(f"{url}/info", headers=headers, timeout=10).status_code == 401
    assert post(url, "/score", {"prompt": "x" * MAX_BODY, "responses": ["y"]}).status_code == 413
    chunks = (b"x" * 2**16 for _ in range(MAX_BODY // 2**16 + 1))  # of no declared length
    as_json = HEADERS | {"Content-Type": "application/json"}
    assert (
        requests.post(f"{url}/score", data=chunks, headers=as_json, timeout=30).status_code == 413
    )
    assert post(url, "/score", {"prompt": "x", "responses": ["y"] * 1_000}).status_code == 422
    long = {"prompt": "x", "responses": [f"{number} " * 1_000 for number in range(100)]}
    refused = post(url, "/score", long)
    assert refused.status_code == 422
    assert "too many tokens" in refused.text
    assert post(url, "/score", {"prompt": "x"}).status_code == 422
    odd = requests.post(
        f"{url}/score",
        data=b'{"prompt": "\\ud800", "responses": ["\\ud800"]}',
        headers=HEADERS | {"Content-Type": "application/json"},
        timeout=10,
    )
    assert odd.status_code == 422
    assert post(url, "/score", QUESTION).status_code == 200


def test_calibrated_preferences_are_over_the_temperature_of_the_run(url: str) -> None:
    info = requests.get(f"{url}/info", headers=HEADERS, timeout=10).json()
    assert info["temperature_from"] == "fitted on the run's test pairs"
    answer = post(url, "/score", QUESTION | {"calibrated": True}).json()
    one, other = answer["scores"]
    (same, first), (second, _) = answer["preferences"]
    assert same == 0.5
    assert first + second == pytest.approx(1)
    assert (first > 0.5) == (one > other)


def test_a_full_service_says_so_at_once_and_nobody_hangs(url: str) -> None:
    statuses = asyncio.run(flood(url, requests_at_once=120))
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 16


async def flood(url: str, requests_at_once: int) -> list[int]:
    body = {"prompt": "Which?", "responses": [f"{number} " * 30 for number in range(15)]}
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:

        async def one() -> int:
            async with session.post(f"{url}/score", json=body, headers=HEADERS) as answer:
                if answer.status == 503:
                    assert answer.headers["Retry-After"] == "1"
                return answer.status

        return await asyncio.gather(*(one() for _ in range(requests_at_once)))


def test_who_hangs_up_is_not_computed_for_as_the_metrics_show(url: str) -> None:
    """Requests behind slow ones are given up before their turn."""
    before = answers_scored()
    slow = {"prompt": "Which?", "responses": [f"{number} " * 60 for number in range(80)]}
    quick = {"prompt": "Which?", "responses": ["This.", "That."]}

    async def ask() -> int:
        async with aiohttp.ClientSession(headers=HEADERS) as session:

            async def one(body: Any, timeout: float) -> int:
                limit = aiohttp.ClientTimeout(total=timeout)
                async with session.post(f"{url}/score", json=body, timeout=limit) as answer:
                    return answer.status

            first = [asyncio.create_task(one(slow, 60)) for _ in range(12)]
            await asyncio.sleep(0.5)
            given_up = [asyncio.create_task(one(quick, 0.3)) for _ in range(8)]
            results = await asyncio.gather(*given_up, return_exceptions=True)
            assert await asyncio.gather(*first) == [200] * 12
            return sum(isinstance(result, TimeoutError) for result in results)

    hung_up = asyncio.run(ask())
    assert hung_up == 8
    assert answers_scored(at_least=before + 12 * 80) == before + 12 * 80


def answers_scored(at_least: float = 0) -> float:
    """The counter, summed over replicas, on the Prometheus endpoint of Ray."""
    name = "more_ray_answers_scored"
    wait_for(lambda: read_counter(name) >= at_least, 60, f"{at_least} answers", every=0.5)
    # What has not been reported yet comes with the next report, by default in ten seconds.
    time.sleep(2 + int(os.environ.get(REPORT_INTERVAL, 10_000)) / 1_000)
    return read_counter(name)


def read_counter(name: str) -> float:
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    lines = requests.get(address, timeout=10).text.splitlines()
    return sum(float(one.rpartition(" ")[2]) for one in lines if one.startswith(f"ray_{name}"))


def test_a_score_that_is_not_finite_is_counted_and_an_error_of_a_handle(
    url: str, tmp_path: Path
) -> None:
    counted = "more_ray_scores_not_finite"
    before = read_counter(counted)
    write_broken_model(tmp_path)
    with scoring(ModelConfig(path=str(tmp_path)), str(tmp_path), gpus=0) as name:
        handle = serve.get_app_handle(name)
        for method in (handle.score, handle.by_population):
            asked = method.remote(prompt="Why?", responses=["No.", "~", "~"])
            with pytest.raises(NotFiniteError, match="the score of answer 1 is not finite: nan"):
                asked.result(timeout_s=60)
        assert handle.score.remote(prompt="Why?", responses=["No."]).result(timeout_s=60)
        wait_for(lambda: read_counter(counted) == before + 4, 60, "4 scores", every=0.5)


def test_killing_one_of_two_replicas_under_load_leaves_no_request_without_an_answer(
    url: str,
) -> None:
    """An error can be tried again, and then there is an answer; the dead replica comes back."""
    statuses: list[int] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            statuses.append(post(url, "/score", QUESTION).status_code)
            for _ in range(20):
                if statuses[-1] == 200:
                    break
                time.sleep(0.1)
                statuses.append(post(url, "/score", QUESTION).status_code)
            else:
                raise AssertionError("no answer in twenty tries")

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(client) for _ in range(6)]
        time.sleep(1)
        assert len(processes(REPLICA)) == 2
        processes(REPLICA)[0].kill()
        time.sleep(5)
        stop.set()
        for one in clients:
            one.result(timeout=60)
    assert set(statuses) <= {200, 500, 503}
    assert statuses.count(200) > 0.9 * len(statuses)
    wait_for(lambda: len(processes(REPLICA)) == 2, 60, "second replica", every=0.5)


def test_a_cluster_that_serves_already_is_left_alone(url: str, trained: Path) -> None:
    (port,) = free_ports(1)
    config = ServeConfig(model=ModelConfig(path=str(trained / "model")), port=port)
    with pytest.raises(UserError, match="runs Ray Serve already"), serving(config):
        pass
    assert post(url, "/score", QUESTION).status_code == 200


def test_what_a_serve_config_file_names_takes_its_args(
    trained: Path, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = {"model": {"path": str(trained / "model")}, "max_replicas": 2}
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(UserError, match="MORE_RAY_TOKEN is not set"):
        build_app(args)
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert isinstance(build_app(args), serve.Application)


def test_another_address_asks_for_a_token(
    trained: Path, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelConfig(path=str(trained / "model"))
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with (
        pytest.raises(UserError, match="MORE_RAY_TOKEN is not set"),
        serving(ServeConfig(model=model, host="0.0.0.0")),
    ):
        pass


def test_no_request_makes_the_service_fail(url: str) -> None:
    schema = requests.get(f"{url}/openapi.json", headers=HEADERS, timeout=10).json()
    paths = {"/score", "/get_reward", "/classify", "/pooling", "/healthz", "/info"}
    assert paths == set(schema["paths"])
    found = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {TOKEN}", "--max-examples", "60"),
            *("--checks", "not_a_server_error", "--seed", "0"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, json.dumps(found.stdout[-3_000:])
