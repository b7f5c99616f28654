"""Whole runs on real Ray, DeepSpeed and transformers: the claims of the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from support import MakeConfig, metrics, scores
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from more_ray.config import ModelConfig
from more_ray.data.formatting import render
from more_ray.data.simulated import Simulator
from more_ray.errors import UserError
from more_ray.model.loading import load_tokenizer
from more_ray.report.models import read_models
from more_ray.train.comparison import train_all
from more_ray.train.run import run

pytestmark = pytest.mark.integration


def test_the_files_of_a_run(trained: Path) -> None:
    lines = metrics(trained)
    assert [line["step"] for line in lines] == list(range(12))
    for line in lines:
        assert sum(line["lam"].values()) == pytest.approx(1)
        assert line["loss"] == pytest.approx(
            sum(line["lam"][name] * line["source_loss"][name] for name in line["lam"])
        )
        np.testing.assert_allclose(np.diag(line["cosine"]), 1)
    evaluation = json.loads((trained / "eval.json").read_text())
    assert (evaluation["scheme"], evaluation["step"]) == ("more", 12)
    assert list(evaluation["sources"]) == ["population_1", "population_2", "population_3"]
    for source in evaluation["sources"].values():
        assert source["n"] == 60
        assert source["ece_ci"][0] <= source["ece_ci"][1]
        assert "true_calibration_error" in source
    assert yaml.safe_load((trained / "config.yaml").read_text())["train"]["workers"] == 2
    assert [model.name for model in read_models([str(trained)])] == ["MORE"]
    assert [path.name for path in sorted((trained / "checkpoints").glob("step-*"))] == [
        "step-00000008",
        "step-00000012",
    ]


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_plain_transformers_gives_the_scores_of_training(
    trained: Path, prepared_folder: str, padding_side: str
) -> None:
    """From text, with no code of ours but the simulator, in batches that need padding."""
    model = AutoModelForSequenceClassification.from_pretrained(trained / "model")
    tokenizer = AutoTokenizer.from_pretrained(trained / "model", padding_side=padding_side)
    pairs = list(Simulator(sources=3).pairs("population_1", "test", 0, 60))
    answers = [
        [render(tokenizer, pair.prompt, pair.chosen) for pair in pairs],
        [render(tokenizer, pair.prompt, pair.rejected) for pair in pairs],
    ]
    plain = []
    with torch.no_grad():
        for texts in answers:
            batch = tokenizer(texts, padding=True, return_tensors="pt", truncation=True)
            plain.append(model(**batch).logits[:, 0].numpy())
    # The run shuffles its pairs; as sets of pairs they are the same.
    mine = scores(trained)[:60]
    theirs = np.stack(plain, axis=1)
    np.testing.assert_allclose(
        mine[np.argsort(mine[:, 0])], theirs[np.argsort(theirs[:, 0])], atol=1e-5
    )


def test_neither_zero_nor_exact_accumulation_changes_what_is_learnt(
    trained: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    """Two micro-batches of 4 pairs a source hold the pairs of one of 8; tests/equivalence has what
    else changes nothing."""
    halves = {"workers": 2, "zero_stage": 3, "pairs_per_source": 4, "accumulation": 2}
    run(small_config(tmp_path / "run", objective={"scope": "batch"}, train=halves))
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(1, 24, 2))
    for halved, whole in zip(lines, metrics(trained), strict=True):
        for name in whole["lam"]:
            assert halved["lam"][name] == pytest.approx(whole["lam"][name], abs=1e-4)
            assert halved["source_loss"][name] == pytest.approx(
                whole["source_loss"][name], abs=1e-5
            )
    np.testing.assert_allclose(scores(tmp_path / "run"), scores(trained), atol=1e-5)


def save_small(folder: Path, model_class: type, config: Any) -> None:
    """A causal LM with small random weights in a folder, as a user has one."""
    tokenizer = load_tokenizer(ModelConfig(), 512)
    torch.manual_seed(0)
    config.vocab_size = len(tokenizer)
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_gpt_neox_in_bf16_with_accumulation_and_checkpointing(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    config = GPTNeoXConfig(**shape, num_hidden_layers=3)
    save_small(tmp_path / "base", GPTNeoXForCausalLM, config)
    evaluation = run(
        small_config(
            tmp_path / "run",
            model={"path": str(tmp_path / "base"), "layers": 2},
            objective={"normalize": "l2", "momentum": 0.5, "scope": "rank"},
            train={
                "workers": 2,
                "precision": "bf16",
                "zero_stage": 2,
                "accumulation": 2,
                "gradient_checkpointing": True,
                "max_steps": 4,
            },
            log={"tensorboard": True},
        )
    )
    assert evaluation["step"] == 4
    assert [line["step"] for line in metrics(tmp_path / "run")] == list(range(4))
    exported = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    assert exported.config.num_hidden_layers == 2
    assert exported.dtype == torch.bfloat16
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_llama_with_lora_is_exported_merged(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    config = LlamaConfig(**shape, num_hidden_layers=2)
    save_small(tmp_path / "base", LlamaForCausalLM, config)
    run(
        small_config(
            tmp_path / "run",
            model={"path": str(tmp_path / "base"), "lora": {"rank": 4}},
            objective={"scheme": "uniform"},
            data={"resample": False},
            train={"workers": 2, "zero_stage": 3, "max_steps": 4},
        )
    )
    exported = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    base = LlamaForCausalLM.from_pretrained(tmp_path / "base")
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(exported.state_dict()[name], base.state_dict()[name])
    embedding = "model.embed_tokens.weight"
    assert torch.equal(exported.state_dict()[embedding], base.state_dict()[embedding])
    for line in metrics(tmp_path / "run"):
        assert list(line["lam"].values()) == pytest.approx([1 / 3] * 3)


def test_the_baselines_of_the_paper(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    """Trained on two of the three sources that are evaluated."""
    names = ["population_1", "population_2"]
    folders = train_all(
        small_config(
            tmp_path,
            compare=["raw", "single", "averaging"],
            data={"train_on": names},
            train={"max_steps": 2},
        )
    )
    models = read_models(folders)
    top = [f"Top ({name})" for name in names]
    more = "MORE on population_1, population_2"
    assert [model.name for model in models] == [more, "untrained", *top, "Averaging"]
    assert [model.evaluation["step"] for model in models] == [2, 0, 2, 2, None]
    for model in models:
        assert list(model.evaluation["sources"]) == [*names, "population_3"]
    assert not (tmp_path / "raw" / "metrics.jsonl").read_text()
    assert list(metrics(tmp_path / "more")[0]["lam"]) == names
    assert list(metrics(tmp_path / "single" / "population_2")[0]["lam"]) == ["population_2"]
    both = [scores(tmp_path / "single" / name) for name in names]
    assert not np.allclose(*both, atol=1e-4)
    np.testing.assert_allclose(scores(tmp_path / "averaging"), np.mean(both, axis=0), atol=1e-6)


def test_a_shared_model_is_specialised(
    trained: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    """Before its first step the new run scores as the old one; then it learns its one source."""
    start = {"init_from": str(trained), "data": {"train_on": ["population_2"]}}
    run(small_config(tmp_path / "start", **start, train={"max_steps": 0}))
    np.testing.assert_allclose(scores(tmp_path / "start"), scores(trained), atol=1e-5)
    run(small_config(tmp_path / "special", **start, train={"max_steps": 2}))
    assert not np.allclose(scores(tmp_path / "special"), scores(trained), atol=1e-3)
    assert list(metrics(tmp_path / "special")[0]["lam"]) == ["population_2"]
    with pytest.raises(UserError, match=r"init_from: .*nowhere holds no trained model"):
        run(small_config(tmp_path / "run", init_from=str(tmp_path / "nowhere")))


def test_more_on_the_dpo_loss(cluster: None, small_config: MakeConfig, tmp_path: Path) -> None:
    """A policy is learnt, and its implicit reward is evaluated."""
    run(
        small_config(
            tmp_path,
            objective={"loss": "dpo", "beta": 0.1},
            optimizer={"lr": 3e-4},
            train={"workers": 2, "zero_stage": 3},
        )
    )
    lines = metrics(tmp_path)
    assert lines[0]["loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert np.mean([line["loss"] for line in lines[4:]]) < np.log(2) - 0.01
    for line in lines:
        assert sum(line["lam"].values()) == pytest.approx(1)
    assert scores(tmp_path).std() > 0
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert policy.get_output_embeddings().weight.shape[0] > 100


def test_training_on_a_source_that_there_is_not(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"data\.train_on: no source other; there are population_1"):
        run(small_config(tmp_path / "run", data={"train_on": ["other"]}))


def test_a_finished_run_is_not_run_again(trained: Path, small_config: MakeConfig) -> None:
    before = (trained / "eval.json").stat().st_mtime_ns
    again = run(small_config(trained, train={"workers": 2}))
    assert again == json.loads((trained / "eval.json").read_text())
    assert (trained / "eval.json").stat().st_mtime_ns == before


def test_a_card_is_written_again_where_it_is_missing_and_kept_where_it_is_there(
    trained: Path, small_config: MakeConfig
) -> None:
    card = trained / "model" / "README.md"
    written = card.read_text()
    assert "| population_1 |" in written
    card.unlink()
    run(small_config(trained, train={"workers": 2}))
    assert card.read_text() == written
    licensed = written.replace("# license: ", "license: mit # ")
    card.write_text(licensed)
    run(small_config(trained, train={"workers": 2}))
    assert card.read_text() == licensed
    card.write_text(written)


def test_a_folder_of_another_run_is_refused(trained: Path, small_config: MakeConfig) -> None:
    with pytest.raises(UserError, match=r"holds a run with optimizer\.lr=0\.0002, not 0\.5"):
        run(small_config(trained, train={"workers": 2}, optimizer={"lr": 0.5}))


def test_a_run_does_not_go_on_with_other_data(
    trained: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    began = json.loads((trained / "environment.json").read_text())
    began["training_pairs"]["population_1"] -= 1
    (tmp_path / "environment.json").write_text(json.dumps(began))
    with pytest.raises(UserError, match=r"training pairs of population_1 has changed"):
        run(small_config(tmp_path))


def test_too_few_pairs_for_the_workers(
    cluster: None, small_config: MakeConfig, tmp_path: Path
) -> None:
    config = small_config(tmp_path / "run", train={"workers": 5, "pairs_per_source": 1})
    with pytest.raises(UserError, match="5 workers need at least one pair each"):
        run(config)
