"""Rejection sampling on real Ray Data and Serve: ordered, complete, and the same after kills."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from ray import serve
from support import job_command, processes, wait_for, without_cluster, write_lines

from more_ray.align.rejection_sampling import RejectionSamplingError, sample_and_select
from more_ray.align.sampling_config import RejectionSamplingConfig
from more_ray.align.selection import ScoringError
from more_ray.align.service_scoring import ANSWERS_AT_ONCE, score_by_handle, score_by_service
from more_ray.cli import dump_config
from more_ray.config import ModelConfig
from more_ray.data.simulated import PROMPTS
from more_ray.model.loading import load_classifier, load_tokenizer
from more_ray.serve.app import scoring

pytestmark = pytest.mark.integration
MakeSampling = Callable[..., RejectionSamplingConfig]
BLOCKS = 12
ROWS = 2 * BLOCKS - 1
"""Prompts in blocks of two: the last has one."""
SAMPLES = ANSWERS_AT_ONCE + 3
PROMPT = [{"role": "user", "content": "Why?"}]


@pytest.fixture(scope="module")
def make_config(tmp_path_factory: pytest.TempPathFactory) -> MakeSampling:
    """Prompts in blocks, a tiny policy, and an untrained reward model."""
    folder = tmp_path_factory.mktemp("inputs")
    prompts = [{"prompt": question} for question, _ in PROMPTS["train"][:ROWS]]
    write_lines(folder / "prompts.jsonl", prompts)
    tokenizer = load_tokenizer(ModelConfig(), 512)
    reward = load_classifier(ModelConfig(), tokenizer, torch.float32, seed=1)
    reward.save_pretrained(folder / "reward")
    tokenizer.save_pretrained(folder / "reward")

    def make(output_dir: Path, **changes: Any) -> RejectionSamplingConfig:
        values = {
            "output_dir": str(output_dir),
            "prompts": str(folder / "prompts.jsonl"),
            "reward": {"path": str(folder / "reward")},
            "sampling": {"batch_prompts": 2, "max_new_tokens": 16, "samples": SAMPLES},
        }
        return RejectionSamplingConfig.model_validate(values | changes)

    return make


@pytest.fixture(scope="module")
def serving(cluster: None) -> Iterator[None]:
    """Serve, for the applications of all tests here."""
    serve.start(proxy_location="Disabled")
    yield
    serve.shutdown()


@pytest.fixture(scope="module")
def undisturbed(
    serving: None, make_config: MakeSampling, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    config = make_config(folder)
    with scoring(config.reward, config.output_dir) as app:
        sample_and_select(config, partial(score_by_service, app))
    return folder


def files(folder: Path) -> list[Any]:
    return [pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("samples", "best")]


def parts(folder: Path) -> dict[str, int]:
    """The parts that are done, and when."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("parts/*.parquet")}


def test_samples_are_in_order_and_the_best_of_each_prompt_is_there(undisturbed: Path) -> None:
    samples, best = files(undisturbed)
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


def test_a_killed_sampler_is_replaced_and_a_killed_job_goes_on(
    undisturbed: Path, make_config: MakeSampling, tmp_path: Path
) -> None:
    """One after the other: then the same command does the rest, and all of it is the same."""
    folder = tmp_path / "samples"
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(make_config(folder)))
    command = job_command("rejection_sampling", "--config", str(file))

    job = subprocess.Popen(command, env=without_cluster(), start_new_session=True)
    try:
        wait_for(lambda: parts(folder), 180, "part")
        killed = processes("SampleBlock")
        assert killed
        for sampler in killed:
            sampler.kill()
        wait_for(lambda: set(processes("SampleBlock")) - set(killed), 60, "other sampler")
        before = len(parts(folder))
        wait_for(lambda: len(parts(folder)) > before, 60, "part by it")
        assert job.poll() is None
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    first = parts(folder)
    assert 0 < len(first) < BLOCKS
    assert not (folder / "samples.parquet").exists()

    shown = subprocess.run(
        command, env=without_cluster(), check=True, timeout=300, capture_output=True, text=True
    ).stdout
    assert "mean reward" in shown
    after = parts(folder)
    assert len(after) == BLOCKS
    assert {name: after[name] for name in first} == first
    assert files(folder) == files(undisturbed)


def test_the_same_samples_are_scored_by_another_reward_model(
    undisturbed: Path, make_config: MakeSampling, tmp_path: Path
) -> None:
    config = make_config(tmp_path, samples_from=str(undisturbed))
    sample_and_select(config, lambda: lambda _, responses: [-float(len(one)) for one in responses])
    drawn, again = files(undisturbed)[0], files(tmp_path)[0]
    assert [one["response"] for one in again] == [one["response"] for one in drawn]
    assert all(one["score"] == -len(one["response"]) for one in again if one["response"])


def test_scores_that_are_not_finite_end_it(
    undisturbed: Path, make_config: MakeSampling, tmp_path: Path
) -> None:
    def score(prompt: Sequence[Any], responses: Sequence[str]) -> list[float]:
        return [math.nan if prompt[0]["content"] == first else 0.0] * len(responses)

    first = PROMPTS["train"][0][0]
    config = make_config(tmp_path, samples_from=str(undisturbed))
    with pytest.raises(RejectionSamplingError, match="scores of prompt 0 are not all finite"):
        sample_and_select(config, lambda: score)
    assert "part-00000.parquet" not in parts(tmp_path)


Deploy = Callable[[Callable[..., Any]], serve.handle.DeploymentHandle]


@pytest.fixture
def deploy(serving: None) -> Iterator[Deploy]:
    """Serves a function that scores; one request at a time, and one may wait."""

    def deploy(score: Callable[..., Any]) -> serve.handle.DeploymentHandle:
        class Reward:
            def score(self, prompt: Sequence[Any], responses: Sequence[str]) -> Any:
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
    undisturbed: Path, deploy: Deploy, make_config: MakeSampling, tmp_path: Path
) -> None:
    def score(prompt: Sequence[Any], responses: Sequence[str]) -> list[float]:
        assert len(responses) <= ANSWERS_AT_ONCE
        return [float(len(response)) for response in responses]

    deploy(score)
    config = make_config(tmp_path, samples_from=str(undisturbed))
    sample_and_select(config, partial(score_by_service, "reward"))
    samples, best = files(tmp_path)
    assert len(best) == ROWS
    assert all(one["score"] == len(one["response"]) for one in samples)


def test_a_full_service_and_a_dead_replica_are_asked_again(deploy: Deploy, tmp_path: Path) -> None:
    marker = tmp_path / "died"

    def score(prompt: Sequence[Any], responses: Sequence[str]) -> list[float]:
        if not marker.exists():
            marker.touch()
            os._exit(1)
        time.sleep(0.05)
        return [float(response) for response in responses]

    handle = deploy(score)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(score_by_handle, handle, PROMPT, [str(n)]) for n in range(24)]
        assert [one.result() for one in asked] == [[float(n)] for n in range(24)]
    assert marker.exists()


def test_a_service_that_does_not_answer_is_given_up(deploy: Deploy) -> None:
    handle = deploy(lambda prompt, responses: time.sleep(30))
    with pytest.raises(ScoringError, match="no answer from the service in 2 s"):
        score_by_handle(handle, PROMPT, ["No."], deadline=2)
