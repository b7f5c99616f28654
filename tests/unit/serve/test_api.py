"""The API over a replica's own object, without Serve around it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
import uvicorn
from support import free_ports, wait_for

from more_ray.config import ModelConfig
from more_ray.config.serve import ServeConfig
from more_ray.model.loading import load_classifier, load_tokenizer
from more_ray.serve.service import RewardService


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = load_tokenizer(ModelConfig(), 512)
    model = load_classifier(ModelConfig(), tokenizer, torch.float32, seed=1)
    words = model.get_input_embeddings().weight
    (broken,) = tokenizer("~")["input_ids"][-1:]
    with torch.no_grad():
        words[broken] = torch.nan
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_score_that_is_not_finite_is_an_error_of_its_request_only(folder: Path) -> None:
    service = RewardService(ServeConfig(model=ModelConfig(path=str(folder))), digest=None)
    (port,) = free_ports(1)
    app = service.__serve_build_asgi_app__()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    wait_for(lambda: server.started, 30, "server")

    def post(path: str, body: dict[str, Any]) -> requests.Response:
        return requests.post(f"http://127.0.0.1:{port}{path}", json=body, timeout=30)

    def score(*responses: str) -> requests.Response:
        return post("/score", {"prompt": "Why?", "responses": responses, "calibrated": True})

    with ThreadPoolExecutor(3) as pool:
        asked = [
            pool.submit(score, "No.", "~"),
            pool.submit(score, "No."),
            pool.submit(post, "/get_reward", {"query": ["~"]}),
        ]
        bad, good, whole = (one.result() for one in asked)
    server.should_exit = True
    assert (bad.status_code, good.status_code, whole.status_code) == (500, 200, 500)
    assert bad.json() == {"detail": "the score of answer 1 is not finite: nan"}
    assert whole.json() == {"detail": "the score of answer 0 is not finite: nan"}
