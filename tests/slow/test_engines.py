"""Real engines behind one job: the same files, and the same after a kill at any block."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support import (
    BLOCKS,
    REPOSITORY,
    ROWS,
    MakeSampling,
    answers,
    free_ports,
    job_command,
    parts,
    sampled,
    wait_for,
    without_cluster,
)

from more_ray.config import ModelConfig
from more_ray.config.base import dump
from more_ray.sample.folder import ENGINES

pytestmark = pytest.mark.integration
SAMPLES = 3
SAMPLING = {"batch_prompts": 2, "max_new_tokens": 12, "max_prompt_tokens": 64, "samples": SAMPLES}
VLLM = Path(os.environ.get("VLLM_VENV", REPOSITORY / ".venv-vllm")) / "bin" / "python"
OF_VLLM = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
ENGINE_NAMES = ("vllm", "vllm's server", "transformers serve")
"""A job that samples by itself is killed in `test_whole_jobs.py`."""
EXACT = {"vllm"}
"""What promises the same samples in the same batches."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as fine-tuning would export it."""
    import torch

    from more_ray.model.loading import load_policy
    from more_ray.model.tokenizer import training_tokenizer

    folder = tmp_path_factory.mktemp("policy")
    tokenizer = training_tokenizer(ModelConfig(), None)
    tokenizer.save_pretrained(folder)
    model = load_policy(ModelConfig(), tokenizer, torch.float32, seed=0)
    model.generation_config.do_sample = True  # or `transformers serve` always says the likeliest
    model.save_pretrained(folder)
    return folder


@contextmanager
def server(command: list[str], port: int) -> Iterator[str]:
    environment = {**os.environ, **OF_VLLM, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([*command, "--port", str(port)], env=environment)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health", process), 300)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module", params=ENGINE_NAMES)
def engine(request: pytest.FixtureRequest, policy: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """An engine's name and its settings, with its server running where it has one."""
    if "vllm" in request.param and not VLLM.exists():
        pytest.skip(f"no {VLLM}: make vllm")
    served = [str(policy), "--host", "127.0.0.1"]
    commands = {
        # Not `vllm serve`, which asks for the version of a package `vllm`; that for CPUs has
        # another name.
        "vllm's server": [
            *(str(VLLM), "-m", "vllm.entrypoints.openai.api_server", "--model", *served),
            *("--dtype", "float32", "--enforce-eager", "--max-model-len", "128"),
        ],
        "transformers serve": [
            *(sys.executable, "-m", "transformers.cli.transformers", "serve", *served),
            *("--device", "cpu", "--dtype", "float32"),
        ],
    }
    if request.param in commands:
        with server(commands[request.param], free_ports(1)[0]) as url:
            name = str(policy)
            yield request.param, {"engine": "openai", "base_url": url, "name": name, "timeout": 600}
        return
    yield request.param, {"engine": "vllm", "path": str(policy), "python": str(VLLM)}


Job = Callable[..., list[str]]


@pytest.fixture
def job(engine: tuple[str, dict[str, Any]], small_sampling: MakeSampling, tmp_path: Path) -> Job:
    def command(output: Path) -> list[str]:
        file = tmp_path / f"{output.name}.yaml"
        file.write_text(dump(small_sampling(output, policy=engine[1], sampling=SAMPLING)))
        return job_command("rejection_sampling", "--config", str(file))

    return command


def run(command: list[str]) -> None:
    done = subprocess.run(
        command, env=without_cluster(), timeout=600, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_job_killed_at_any_block_goes_on(
    engine: tuple[str, dict[str, Any]], job: Job, tmp_path: Path
) -> None:
    """No sample is lost and none is there twice; what was done stays, and the rest is the same as
    in a job that nobody killed, where the engine promises that."""
    name, _ = engine
    folder = tmp_path / "samples"
    killed = subprocess.Popen(job(folder), env=without_cluster(), start_new_session=True)
    try:
        wait_for(partial(has_parts, folder, BLOCKS // 3, killed), 600, "part")
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    before = parts(folder)
    assert not (folder / "samples.parquet").exists()
    run(job(folder))
    assert {part: parts(folder)[part] for part in before} == before
    samples, best = sampled(folder)
    assert [(one["row"], one["sample"]) for one in samples] == [
        (row, sample) for row in range(ROWS) for sample in range(SAMPLES)
    ]
    assert len({one["row"] for one in best}) == len(best) <= ROWS
    check_samples(samples, name)
    check_record(folder, name)
    if name in EXACT:
        run(job(tmp_path / "whole"))
        assert sampled(tmp_path / "whole") == [samples, best]


def has_parts(folder: Path, number: int, job: subprocess.Popen[bytes]) -> bool:
    assert job.poll() is None, "the job ended"
    return len(parts(folder)) >= number


def check_samples(samples: list[dict[str, Any]], name: str) -> None:
    seen: dict[int, set[str]] = {}
    for one in samples:
        assert 0 < one["tokens"] <= SAMPLING["max_new_tokens"]
        assert one["finished"] or one["tokens"] == SAMPLING["max_new_tokens"]
        assert (one["score"] is None) == (one["response"] == "")
        responses = seen.setdefault(one["row"], set())
        assert one["duplicate"] == (one["response"] in responses)
        responses.add(one["response"])
        assert (one["log_likelihood"] is None) == (name == "transformers serve")
        assert one["log_likelihood"] is None or one["log_likelihood"] < 0
    assert len({one["response"] for one in samples}) > 0.9 * len(samples)


def check_record(folder: Path, name: str) -> None:
    (record,) = json.loads((folder / "summary.json").read_text())["engines"]
    assert record["engine"] == (name if name in EXACT else "openai")
    assert (record["reproducible"] == "no") == (name not in EXACT)
    for file in ("samples", "best"):
        metadata = pq.read_schema(folder / f"{file}.parquet").metadata
        assert json.loads(metadata[ENGINES.encode()]) == [record]
