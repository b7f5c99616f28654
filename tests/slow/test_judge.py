"""A real judge on this machine: a model behind the OpenAI-compatible server of transformers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import job_command

from more_ray.config.judge import JudgeConfig
from more_ray.judge.cache import AnswerCache
from more_ray.judge.run import judge, make_plan

pytestmark = pytest.mark.integration
ANSWERS = {
    "How do I boil an egg?": ("Eight minutes in boiling water, then cool it.", "Eggs are food."),
    "What is the capital of France?": ("Paris.", "I do not know."),
}


def test_a_small_judge_ends_and_a_rerun_asks_nothing(
    small_judge: dict[str, Any], tmp_path: Path
) -> None:
    for position, name in enumerate(("ours", "theirs")):
        columns = {
            "row": list(range(len(ANSWERS))),
            "prompt": [[{"role": "user", "content": question}] for question in ANSWERS],
            "response": [both[position] for both in ANSWERS.values()],
        }
        pq.write_table(pa.table(columns), tmp_path / name)

    with AnswerCache(str(tmp_path / "cache")) as cache:
        values = {
            "answers": str(tmp_path / "ours"),
            "against": str(tmp_path / "theirs"),
            "output_dir": str(tmp_path / "out"),
            "cache": str(tmp_path / "cache"),
            **small_judge,
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

    arguments = [f"{key}={'null' if value is None else value}" for key, value in values.items()]
    command = job_command("judge", *arguments)
    rerun = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert rerun.returncode == 0, rerun.stderr
    assert f"2 pairs, 0 requests, {requests} more in the cache" in rerun.stdout
    assert "win" in rerun.stdout
