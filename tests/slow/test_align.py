"""The whole chain: reward models, the best answers, fine-tuned policies, a real judge, the page."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from support import MakeConfig, job_command, without_cluster, write_lines
from transformers import AutoModelForCausalLM

import more_ray
from more_ray.data.simulated import PROMPTS, Simulator

pytestmark = pytest.mark.integration
EVAL_PROMPTS = 4


def chain(
    small_config: MakeConfig, folder: Path, reward: dict[str, Any], **changes: Any
) -> tuple[list[str], Path]:
    """The command that aligns a tiny policy, and its folder."""
    for name, split, count in (("prompts", "train", 16), ("eval", "test", EVAL_PROMPTS)):
        prompts = [{"prompt": question} for question, _ in PROMPTS[split][:count]]
        write_lines(folder / f"{name}.jsonl", prompts)
    held_out = Simulator(1).pairs("population_1", "test", 0, 12)
    answers = [{"prompt": list(one.prompt), "response": one.chosen} for one in held_out]
    write_lines(folder / "held.jsonl", answers)
    out = folder / "out"
    run = small_config(out / "reward", train={"max_steps": 2}, **reward)
    values = {
        "output_dir": str(out),
        "reward": run.model_dump(mode="json"),
        "prompts": str(folder / "prompts.jsonl"),
        "sampling": {"samples": 3, "max_new_tokens": 16},
        "finetune": {
            "data": {
                "sources": [f"held={folder / 'held.jsonl'}"],
                "prepared": run.data.prepared,
                "test_fraction": 0.2,
            },
            "optimizer": {"lr": 1e-3},
            "train": {"pairs_per_source": 4, "accumulation": 1},
        },
        "eval_prompts": str(folder / "eval.jsonl"),
        **changes,
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    return job_command("align", "--config", str(file)), out


def test_policies_are_compared_by_whom_their_answers_were_to_please(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    reward = {"model": {"heads": "shared+drift"}, "optimizer": {"lr": 1e-2}}
    choices = ["shared", "worst"]
    gold = small_config(tmp_path / "gold", train={"max_steps": 2, "seed": 1}, **reward)
    more_ray.train(gold)
    model = {"path": str(tmp_path / "gold" / "model")}
    command, out = chain(small_config, tmp_path, reward, choices=choices, gold=model)
    subprocess.run(command, env=without_cluster(), check=True, timeout=900)
    result = json.loads((out / "align.json").read_text())
    made_by = [(one["reward_model"], one["choice"]) for one in result["policies"].values()]
    assert list(result["policies"]) == ["base", "more", "more-worst"]
    assert made_by == [(None, None), ("more", "shared"), ("more", "worst")]
    best, fair = (
        pq.read_table(out / "best" / name / "best.parquet") for name in list(result["policies"])[1:]
    )
    assert best.schema.equals(fair.schema)
    assert best["row"].equals(fair["row"])
    assert not best["response"].equals(fair["response"])
    sources = {"population_1", "population_2", "population_3"}
    heads = [(one["policy"], one["other"], one["head"]) for one in result["gold"]]
    compared = [("more", "base"), ("more-worst", "base"), ("more", "more-worst")]
    assert heads == [(*two, head) for two in compared for head in ("everybody", *sorted(sources))]
    for one in result["gold"]:
        assert one["win_rate"]["n"] == EVAL_PROMPTS
    for name, shown in (("more", "MORE"), ("more-worst", "MORE (worst)")):
        assert result["policies"][name]["gain_of_sources"]["more"].keys() == sources
        assert result["best_of"][name]["reward_models"].keys() == {"more", "gold"}
        assert result["best_of"][name]["sources"].keys() == sources
        assert result["best_of"][name]["gold"].keys() == sources
        assert f"Best of n as for {shown}" in (out / "report.html").read_text()


def test_the_chain_goes_to_its_table_and_a_rerun_does_nothing_again(
    small_config: MakeConfig, small_judge: dict[str, Any], tmp_path: Path
) -> None:
    judge = {**small_judge, "cache": str(tmp_path / "cache")}
    command, out = chain(
        small_config,
        tmp_path,
        {"compare": ["proportional"]},
        judge=judge,
        criteria=["helpful"],
    )
    shown = subprocess.run(
        command, env=without_cluster(), check=True, timeout=900, capture_output=True, text=True
    ).stdout
    assert "MORE against MultiTask, helpful" in shown

    result = json.loads((out / "align.json").read_text())
    assert list(result["policies"]) == ["base", "more", "proportional"]
    assert [(one["policy"], one["other"]) for one in result["judgements"]] == [
        ("more", "base"),
        ("proportional", "base"),
        ("more", "proportional"),
    ]
    for one in result["judgements"]:
        assert one["win"] + one["tie"] + one["lose"] + one["unparsable"] == EVAL_PROMPTS
    for name in ("more", "proportional"):
        policy = result["policies"][name]
        assert policy["kl"]["mean"] > 0
        assert policy["perplexity"]["held"]["n"] > 0
        AutoModelForCausalLM.from_pretrained(out / "policies" / name / "model")
        samples = pq.read_table(out / "answers" / name / name / "samples.parquet")
        assert policy["reward"][name]["mean"] == pytest.approx(
            sum(samples["score"].to_pylist()) / len(samples), rel=1e-4
        )
    by_more, by_other = (
        pq.read_table(out / "best" / name / "samples.parquet") for name in ("more", "proportional")
    )
    assert by_more["response"].to_pylist() == by_other["response"].to_pylist()
    assert by_more["score"].to_pylist() != by_other["score"].to_pylist()
    assert "Reward and divergence" in (out / "report.html").read_text()

    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    made |= {path: path.stat().st_mtime_ns for path in out.rglob("best/**/*.parquet")}
    again = subprocess.run(
        command, env=without_cluster(), check=True, timeout=300, capture_output=True, text=True
    ).stdout
    assert "about 0 tokens to send" in again
    assert {path: path.stat().st_mtime_ns for path in made} == made
