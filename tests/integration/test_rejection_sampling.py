"""Rejection sampling on real Ray Data and Serve: ordered, complete, and the same after kills."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import serve
from support import (
    BLOCKS,
    ROWS,
    SAMPLES,
    MakeSampling,
    parts,
    processes,
    sampled,
    wait_for,
)

from more_ray.calibrate.populations import ByPopulation
from more_ray.data.simulated import PROMPTS
from more_ray.errors import UserError
from more_ray.sample.run import sample_and_select
from more_ray.sample.service_scoring import score_by_handle, score_by_service
from more_ray.serve.app import scoring

pytestmark = pytest.mark.integration
PROMPT = [{"role": "user", "content": "Why?"}]


@pytest.fixture(scope="module")
def serving(cluster: None) -> Iterator[None]:
    """Serve, for the applications of all tests here."""
    serve.start(proxy_location="Disabled")
    yield
    serve.shutdown()


@pytest.fixture(scope="module")
def undisturbed(
    serving: None, small_sampling: MakeSampling, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    config = small_sampling(folder)
    with scoring(config.reward, config.output_dir) as app:
        sample_and_select(config, partial(score_by_service, app))
    return folder


def test_samples_are_in_order_and_the_best_of_each_prompt_is_there(undisturbed: Path) -> None:
    samples, best = sampled(undisturbed)
    assert [(one["row"], one["sample"]) for one in samples] == [
        (row, sample) for row in range(ROWS) for sample in range(SAMPLES)
    ]
    assert [one["row"] for one in best] == list(range(ROWS))
    for one in best:
        mine = [sample for sample in samples if sample["row"] == one["row"]]
        assert one["score"] == max(sample["score"] for sample in mine)
        assert one["response"] in [sample["response"] for sample in mine]
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert summary["mean_reward_of_best"] > summary["mean_reward"]


def test_a_killed_sampler_is_replaced(
    undisturbed: Path, small_sampling: MakeSampling, tmp_path: Path
) -> None:
    config = small_sampling(tmp_path)

    def kill() -> None:
        wait_for(lambda: parts(tmp_path), what="part")
        for sampler in processes("SampleBlock"):
            sampler.kill()
        assert len(parts(tmp_path)) < BLOCKS

    with (
        scoring(config.reward, config.output_dir) as app,
        ThreadPoolExecutor(1) as beside,
    ):
        killing = beside.submit(kill)
        sample_and_select(config, partial(score_by_service, app))
        killing.result()
    assert sampled(tmp_path) == sampled(undisturbed)


def test_the_same_samples_are_scored_by_another_reward_model(
    undisturbed: Path, small_sampling: MakeSampling, tmp_path: Path
) -> None:
    config = small_sampling(tmp_path, samples_from=str(undisturbed))

    def score(_: Sequence[Any], responses: Sequence[str]) -> ByPopulation:
        return ByPopulation((), np.array([[-float(len(one)) for one in responses]]))

    sample_and_select(config, lambda: score)
    drawn, again = sampled(undisturbed)[0], sampled(tmp_path)[0]
    assert [one["response"] for one in again] == [one["response"] for one in drawn]
    assert all(one["score"] == -len(one["response"]) for one in again if one["response"])


def test_scores_that_are_not_finite_end_it(
    undisturbed: Path, small_sampling: MakeSampling, tmp_path: Path
) -> None:
    def score(prompt: Sequence[Any], responses: Sequence[str]) -> ByPopulation:
        reward = math.nan if prompt[0]["content"] == first else 0.0
        return ByPopulation((), np.array([[reward] * len(responses)]))

    first = PROMPTS["train"][0][0]
    config = small_sampling(tmp_path, samples_from=str(undisturbed))
    with pytest.raises(UserError, match="scores of prompt 0 are not all finite"):
        sample_and_select(config, lambda: score)
    assert "part-00000.parquet" not in parts(tmp_path)


Deploy = Callable[[Callable[..., Any]], serve.handle.DeploymentHandle]


@pytest.fixture
def deploy(serving: None) -> Iterator[Deploy]:
    """Serves a function that scores; one request at a time, and one may wait."""

    def deploy(score: Callable[..., Any]) -> serve.handle.DeploymentHandle:
        class Reward:
            def by_population(self, prompt: Sequence[Any], responses: Sequence[str]) -> Any:
                return score(prompt, responses)

        deployment = serve.deployment(
            Reward,
            max_ongoing_requests=1,
            max_queued_requests=1,
            ray_actor_options={"num_cpus": 0.1},
            graceful_shutdown_timeout_s=0,
            health_check_period_s=0.5,
        )
        return serve.run(deployment.bind(), name="reward", route_prefix=None)

    yield deploy
    serve.delete("reward")


def test_the_service_scores_samples(
    undisturbed: Path, deploy: Deploy, small_sampling: MakeSampling, tmp_path: Path
) -> None:
    def score(prompt: Sequence[Any], responses: Sequence[str]) -> ByPopulation:
        length_A = np.array([float(len(response)) for response in responses])
        return ByPopulation(("short", "long"), np.stack([length_A, -length_A, length_A]))

    deploy(score)
    config = small_sampling(tmp_path, samples_from=str(undisturbed))
    summary = sample_and_select(config, partial(score_by_service, "reward"))
    samples, best = sampled(tmp_path)
    assert len(best) == ROWS
    assert all(one["score"] == len(one["response"]) for one in samples)
    assert all(one["rewards"] == [-one["score"], one["score"]] for one in samples)
    (shared,) = [one for one in summary["choices"] if one["by"] == "shared"]
    assert shared["sources"]["short"]["mean"] == pytest.approx(-shared["shared"]["mean"])


def test_a_full_service_and_a_dead_replica_are_asked_again(deploy: Deploy, tmp_path: Path) -> None:
    marker = tmp_path / "died"

    def score(prompt: Sequence[Any], responses: Sequence[str]) -> ByPopulation:
        if not marker.exists():
            marker.touch()
            os._exit(1)
        time.sleep(0.05)
        return ByPopulation((), np.array([[float(response) for response in responses]]))

    handle = deploy(score)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(score_by_handle, handle, PROMPT, [str(n)]) for n in range(24)]
        found = [one.result().reward_PA.tolist() for one in asked]
    assert found == [[[float(n)]] for n in range(24)]
    assert marker.exists()


def test_a_service_that_does_not_answer_is_given_up(deploy: Deploy) -> None:
    handle = deploy(lambda prompt, responses: time.sleep(30))
    with pytest.raises(UserError, match="no answer from the service in 2 s"):
        score_by_handle(handle, PROMPT, ["No."], deadline=2)
