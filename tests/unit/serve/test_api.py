"""The API over a replica's own object, without Serve around it."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from support import listening, write_broken_model

from more_ray.config import ModelConfig
from more_ray.config.serve import ServeConfig
from more_ray.serve.api import NotFiniteError
from more_ray.serve.service import RewardService


@pytest.fixture
def service(tmp_path: Path) -> RewardService:
    write_broken_model(tmp_path)
    return RewardService(ServeConfig(model=ModelConfig(path=str(tmp_path))), digest=None)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("ray.serve").addHandler(caplog.handler)  # it does not propagate
    return caplog


def test_a_score_that_is_not_finite_is_an_error_of_its_request_only(
    service: RewardService, log: pytest.LogCaptureFixture
) -> None:
    bad = {
        "/score": {"prompt": "Why?", "responses": ["No.", "~", "~"], "calibrated": True},
        "/get_reward": {"query": ["No.", "~"]},
        "/classify": {"input": ["No.", "~"]},
        "/pooling": {"input": ["No.", "~"]},
    }
    with listening(service.__serve_build_asgi_app__()) as url, ThreadPoolExecutor(6) as pool:

        def post(path: str, body: dict[str, Any]) -> requests.Response:
            return requests.post(f"{url}{path}", json=body, timeout=30)

        good = pool.submit(post, "/score", {"prompt": "Why?", "responses": ["No."]})
        of_slime = pool.submit(post, "/get_reward", {"prompt": "Why?", "response": "~"})
        asked = {path: pool.submit(post, path, body) for path, body in bad.items()}
        assert good.result().status_code == 200
        for one in asked.values():
            assert one.result().status_code == 500
            assert one.result().json() == {"detail": "the score of answer 1 is not finite: nan"}
        assert of_slime.result().status_code == 500
        assert of_slime.result().json() == {"detail": "the score of answer 0 is not finite: nan"}
    lines = [record.getMessage() for record in log.records if "not finite" in record.getMessage()]
    assert len(lines) == 5
    model = service.info.model
    assert f"the score of answer 1 is not finite: nan; 2 of 3 are not, by {model}" in lines
    assert not [line for line in lines if "~" in line or "\n" in line]


def test_by_handle_it_is_an_exception(service: RewardService) -> None:
    async def ask() -> None:
        for asked in (service.score, service.by_population):
            with pytest.raises(NotFiniteError, match="the score of answer 0 is not finite: nan"):
                await asked("Why?", ["~"])

    asyncio.run(ask())
