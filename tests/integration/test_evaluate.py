"""Any reward model, scored on Ray Data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import MakeConfig, write_lines
from transformers import BertConfig, BertForSequenceClassification

from more_ray.config import EvaluationConfig, ModelConfig
from more_ray.errors import UserError
from more_ray.evaluate.benchmarks import summarise_table
from more_ray.evaluate.files import read_scores
from more_ray.evaluate.run import evaluate
from more_ray.model.loading import load_tokenizer
from more_ray.model.scorer import Scorer
from more_ray.train.run import run

pytestmark = pytest.mark.integration
MakeEvaluation = Callable[..., EvaluationConfig]


@pytest.fixture
def config(prepared_folder: str, tmp_path: Path) -> MakeEvaluation:
    """The simulator's test pairs that the trained run was evaluated on."""

    def make(model: Path, **changes: Any) -> EvaluationConfig:
        simulator = {"sources": 3, "pairs": 96, "test_pairs": 60}
        values = {
            "output_dir": str(tmp_path / "evaluation"),
            "model": {"path": str(model)},
            "data": {"simulator": simulator, "prepared": prepared_folder},
            "resamples": 100,
            **changes,
        }
        return EvaluationConfig.model_validate(values)

    return make


def test_a_trained_model_gets_the_scores_of_its_run(
    trained: Path, config: MakeEvaluation, tmp_path: Path
) -> None:
    pairs = []
    result = evaluate(
        config(trained / "model", against=str(trained), workers=2),
        scoring=lambda done, of: pairs.append((done, of)),
    )
    assert pairs[-1] == (180, 180)
    assert result["scheme"] == trained.name
    assert json.loads((tmp_path / "evaluation" / "eval.json").read_text()) == result
    before = json.loads((trained / "eval.json").read_text())
    mine, theirs = read_scores(str(tmp_path / "evaluation")), read_scores(str(trained))
    assert list(mine) == list(theirs) == list(before["sources"])
    for name, one in mine.items():
        here, there = np.argsort(one.pair_N), np.argsort(theirs[name].pair_N)
        for column in ("chosen_N", "rejected_N"):
            np.testing.assert_allclose(
                getattr(one, column)[here], getattr(theirs[name], column)[there], atol=1e-5
            )
        for measure in result["against"]["sources"][name].values():
            assert measure["difference"] == pytest.approx(0, abs=1e-5)


def test_a_reward_model_of_another_kind(
    cluster: None, config: MakeEvaluation, tmp_path: Path
) -> None:
    """Not a causal LM: a pooled classifier, which can only be run padded."""
    tokenizer = load_tokenizer(ModelConfig(), 512)
    shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    bert = BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), **shape, num_hidden_layers=1, num_labels=1)
    )
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    result = evaluate(config(tmp_path / "bert", name="theirs"))
    assert result["scheme"] == "theirs"
    assert result["mean"]["n"] == 180


def test_scores_that_are_not_finite(trained: Path, config: MakeEvaluation, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (trained / "model").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["score.weight"][0, 0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="'population_1' has 120 of 120 scores NaN"):
        evaluate(config(broken))


def test_a_model_that_was_scored_on_other_pairs(
    trained: Path, config: MakeEvaluation, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"against: no file .*/nothing/scores\.parquet"):
        evaluate(config(trained / "model", against=str(tmp_path / "nothing")))
    other = tmp_path / "other"
    other.mkdir()
    table = pq.read_table(trained / "scores.parquet")
    pq.write_table(table.slice(1), other / "scores.parquet")
    with pytest.raises(UserError, match="different pairs, 60 and 59 with 59 in common"):
        evaluate(config(trained / "model", against=str(other)))


def test_a_file_is_scored_whole_unless_it_was_trained_on(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    """With results by subset, where the pairs name one."""
    trained_on, other = tmp_path / "mine.jsonl", tmp_path / "other.jsonl"
    records = [
        {"prompt": f"Question {n}?", "chosen": f"Yes, {n}.", "rejected": f"No, {n}."}
        | {"subset": "even" if n % 2 == 0 else "odd"}
        for n in range(80)
    ]
    write_lines(trained_on, records)
    write_lines(other, records)
    data = {"sources": [str(trained_on)], "test_fraction": 0.25}
    train = {"max_steps": 0, "threads": 1}
    held_out = run(small_config(tmp_path / "run", data=data, train=train))["mean"]["n"]
    assert 5 < held_out < 40
    model = {"path": str(tmp_path / "run" / "model")}

    def evaluated(**data: Any) -> dict[str, Any]:
        values = {"output_dir": str(tmp_path / "evaluation"), "model": model, "resamples": 100}
        prepared = {"prepared": str(tmp_path / "prepared"), **data}
        return evaluate(EvaluationConfig.model_validate(values | {"data": prepared}))

    whole = evaluated(sources=[str(other)])
    assert whole["mean"]["n"] == 80
    subsets = whole["sources"]["other"]["subsets"]
    assert {name: one["n"] for name, one in subsets.items()} == {"even": 40, "odd": 40}
    assert fmean(one["accuracy"] for one in subsets.values()) == whole["mean"]["accuracy"]
    assert evaluated(sources=[str(trained_on)])["mean"]["n"] == held_out
    again = evaluated(sources=[str(trained_on), str(other)], test_fraction=0.25)
    assert again["sources"]["mine"]["n"] == again["sources"]["other"]["n"] == held_out


@pytest.mark.parametrize("begun_with", ["model.path", "init_from"])
def test_what_the_model_before_learnt_from_is_not_scored_as_unseen(
    begun_with: str, cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    train = {"max_steps": 0, "threads": 1}
    for name in ("before", "after"):
        records = [
            {"prompt": f"Question {n}?", "chosen": f"Yes, {name}.", "rejected": f"No, {n}."}
            for n in range(80)
        ]
        write_lines(tmp_path / f"{name}.jsonl", records)
    before = {"sources": [str(tmp_path / "before.jsonl")], "test_fraction": 0.25}
    held_out = run(small_config(tmp_path / "one", data=before, train=train))["mean"]["n"]
    from_one = (
        {"init_from": str(tmp_path / "one")}
        if begun_with == "init_from"
        else {"model": {"path": str(tmp_path / "one" / "model")}}
    )
    after = {"sources": [str(tmp_path / "after.jsonl")]}
    run(small_config(tmp_path / "two", data=after, train=train, **from_one))
    config = EvaluationConfig.model_validate(
        {
            "output_dir": str(tmp_path / "evaluation"),
            "model": {"path": str(tmp_path / "two" / "model")},
            "data": {"sources": before["sources"], "prepared": str(tmp_path / "prepared")},
            "resamples": 100,
        }
    )
    assert evaluate(config)["mean"]["n"] == held_out


def test_a_run_keeps_its_own_evaluation(trained: Path, config: MakeEvaluation) -> None:
    before = (trained / "eval.json").read_bytes()
    with pytest.raises(UserError, match=r"^output_dir: .* holds a run or a calibration, and would"):
        evaluate(config(trained / "model", output_dir=str(trained)))
    assert (trained / "eval.json").read_bytes() == before


def test_benchmarks_are_scored_alone_or_beside_pairs(
    trained: Path, config: MakeEvaluation, tmp_path: Path
) -> None:
    pairs = [
        {"prompt": f"Question {n}?", "chosen": f"Yes, {n}.", "rejected": f"No, {n}."}
        | {"subset": "even" if n % 2 == 0 else "odd"}
        for n in range(40)
    ]
    styles = [
        {
            "prompt": f"Question {n}?",
            "chosen": [f"Yes, {n}.", f"Yes, it is {n}.", f"**Yes**, it is {n}."],
            "rejected": [f"No, {n}.", f"No, it is {n}.", f"**No**, it is {n}."],
            "domain": "chat" if n % 2 == 0 else "math",
        }
        for n in range(10)
    ]
    write_lines(tmp_path / "pairs.jsonl", pairs)
    write_lines(tmp_path / "styles.jsonl", styles)
    files = [str(tmp_path / "pairs.jsonl"), str(tmp_path / "styles.jsonl")]
    model = {"path": str(trained / "model")}
    values = {"output_dir": str(tmp_path / "alone"), "model": model, "resamples": 100}
    counted = []
    alone = evaluate(
        EvaluationConfig.model_validate(values | {"benchmark": files, "workers": 2}),
        answering=lambda done, of: counted.append((done, of)),
    )
    assert (80, 80) in counted
    assert counted[-1] == (60, 60)
    assert alone["sources"] == {}
    assert json.loads((tmp_path / "alone" / "eval.json").read_text()) == alone
    assert not (tmp_path / "alone" / "scores.parquet").exists()
    found = alone["benchmarks"]
    assert [one["read_as"] for one in found.values()] == ["pairs", "RM-Bench"]
    assert {name: one["n"] for name, one in found["pairs"]["subsets"].items()} == {
        "even": 20,
        "odd": 20,
    }
    table = pq.read_table(tmp_path / "alone" / "benchmark_scores.parquet")
    first = table.filter(pc.equal(table["benchmark"], "pairs"))
    assert summarise_table(first, 0, 10, 100).items() <= found["pairs"].items()
    scorer = Scorer(ModelConfig(path=model["path"]))
    rewards = scorer.score("Question 7?", ["Yes, 7.", "No, 7."])
    assert first["score"].to_pylist()[14:16] == pytest.approx(rewards, abs=1e-5)

    both = evaluate(config(trained / "model", benchmark=files[:1]))
    assert both["mean"]["n"] == 180
    assert both["benchmarks"]["pairs"] == found["pairs"]
