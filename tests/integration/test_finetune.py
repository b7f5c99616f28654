"""Fine-tuning on answers, with the worker code of the reward model."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from support import MakeConfig, metrics, write_lines
from transformers import AutoModelForCausalLM, AutoTokenizer

from more_ray.data.formatting import render, render_prompt
from more_ray.data.simulated import Simulator
from more_ray.train.run import run

pytestmark = pytest.mark.integration


def test_fine_tuning_learns_answers_and_exports_a_plain_causal_lm(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    simulator = Simulator(1)
    for split, count in (("train", 128), ("test", 20)):
        pairs = simulator.pairs("population_1", split, 0, count)
        answers = [{"prompt": list(one.prompt), "response": one.chosen} for one in pairs]
        write_lines(tmp_path / f"answers.{split}.jsonl", answers)
    config = small_config(
        tmp_path / "run",
        data={"root": str(tmp_path), "resample": False, "max_length": 256},
        objective={"loss": "sft", "scheme": "proportional"},
        optimizer={"lr": 3e-3},
        train={"workers": 2, "accumulation": 2, "epochs": 2},
    )
    result = run(config)

    lines = metrics(tmp_path / "run")
    assert len(lines) == 32
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    assert result["sources"]["answers"]["n"] == 20
    assert "sft loss" in (tmp_path / "run/model/README.md").read_text()

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run/model")
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "run/model")
    expected = []
    for pair in simulator.pairs("population_1", "test", 0, 20):
        whole = tokenizer(render(tokenizer, pair.prompt, pair.chosen))["input_ids"]
        prompt = tokenizer(render_prompt(tokenizer, pair.prompt))["input_ids"]
        assert whole[: len(prompt)] == prompt
        labels = torch.tensor([[-100] * len(prompt) + whole[len(prompt) :]])
        with torch.no_grad():
            loss = policy(torch.tensor([whole]), labels=labels).loss.item()
        expected.append(loss * (len(whole) - len(prompt)))
    table = pq.read_table(tmp_path / "run/likelihoods.parquet")
    assert sorted(table["nll"].to_pylist()) == pytest.approx(sorted(expected), abs=1e-3)
