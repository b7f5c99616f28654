"""Heads fitted on the hidden states of a trunk that stays as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    pipeline,
)

from more_ray.calibrate.run import calibrate
from more_ray.config import CalibrationConfig, EvaluationConfig, ModelConfig
from more_ray.data.formatting import render
from more_ray.data.simulated import Simulator
from more_ray.errors import ModelError, UserError
from more_ray.evaluate.run import evaluate
from more_ray.evaluate.temperature import model_temperature
from more_ray.model.heads_file import read_heads
from more_ray.model.loading import load_reward_model
from more_ray.model.tokenizer import training_tokenizer
from more_ray.model.trunk_digest import trunk_digest
from more_ray.terminal import heads_table

pytestmark = pytest.mark.integration
SOURCES, HIDDEN = 3, 128


def make_config(folder: Path, prepared: str, **changes: Any) -> CalibrationConfig:
    simulator = {"sources": SOURCES, "pairs": 700, "test_pairs": 120, "drift": 2.0}
    values = {
        "output_dir": str(folder / "run"),
        "features": str(folder / "features"),
        "data": {"simulator": simulator, "prepared": prepared},
        "resamples": 100,
    }
    return CalibrationConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def config(
    cluster: None, prepared_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> CalibrationConfig:
    config = make_config(tmp_path_factory.mktemp("calibration"), prepared_folder)
    calibrate(config)
    return config


def evaluation(config: CalibrationConfig) -> dict[str, Any]:
    return json.loads((Path(config.output_dir) / "eval.json").read_text())


def test_own_heads_know_their_people_better_than_the_shared_one(config: CalibrationConfig) -> None:
    found = evaluation(config)
    assert list(found["sources"]) == [f"population_{number}" for number in (1, 2, 3)]
    assert found["mean"]["accuracy"] > found["shared"]["mean"]["accuracy"] + 0.03
    assert found["mean"]["nll"] < found["shared"]["mean"]["nll"] < 0.7
    assert found["left_out"]["mean"]["nll"] < 0.7  # a coin has 0.693


def test_own_heads_are_compared_with_one_head_for_all(config: CalibrationConfig) -> None:
    """Pair by pair: populations that disagree much (drift 2) gain by heads of their own."""
    found = evaluation(config)
    for key in ("accuracy", "nll"):
        difference = found["against"]["mean"][key]
        plain = found["mean"][key] - found["one_head"]["mean"][key]
        assert difference["difference"] == pytest.approx(plain, abs=1e-6)
    assert found["against"]["mean"]["accuracy"]["ci"][0] > 0
    assert found["against"]["mean"]["nll"]["ci"][1] < 0


def test_the_checkpoint_scores_by_the_shared_head_in_plain_transformers(
    config: CalibrationConfig,
) -> None:
    folder = Path(config.output_dir) / "model"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    fitted = read_heads(folder.parent / "heads.safetensors", trunk_digest(model), HIDDEN)
    np.testing.assert_allclose(model.score.weight.detach()[0], fitted.folded_H, rtol=1e-6)
    pairs = list(Simulator(sources=SOURCES, drift=2.0).pairs("population_1", "test", 0, 120))
    delta = []
    with torch.no_grad():
        for pair in pairs:
            texts = [
                render(tokenizer, pair.prompt, answer) for answer in (pair.chosen, pair.rejected)
            ]
            batch = tokenizer(texts, padding=True, return_tensors="pt")
            chosen, rejected = model(**batch).logits[:, 0].double().tolist()
            delta.append(chosen - rejected)
    right = float(np.mean(np.array(delta) > 0))
    shared = evaluation(config)["shared"]["sources"]["population_1"]
    assert shared["accuracy"] == pytest.approx(right)
    assert shared["nll"] == pytest.approx(np.logaddexp(0, -np.array(delta)).mean(), abs=1e-5)


def test_the_terminal_shows_every_way_to_score(config: CalibrationConfig) -> None:
    found = evaluation(config)
    console = Console(width=78, record=True)
    console.print(heads_table({"own head": found, "left out": found["left_out"]}))
    text = console.export_text()
    for mean in (found["mean"], found["left_out"]["mean"]):
        assert f"{mean['nll']:.3f}" in text


def test_scores_are_those_of_the_own_heads(config: CalibrationConfig) -> None:
    table = pq.read_table(Path(config.output_dir) / "scores.parquet")
    delta = table["chosen"].to_numpy() - table["rejected"].to_numpy()
    accuracy = [np.mean(delta[part : part + 120] > 0) for part in range(0, 360, 120)]
    found = [source["accuracy"] for source in evaluation(config)["sources"].values()]
    assert found == pytest.approx(accuracy)


def test_disagreements_hold_the_probability_by_every_head(config: CalibrationConfig) -> None:
    folder = Path(config.output_dir)
    table, scores = (
        pq.read_table(folder / f"{name}.parquet") for name in ("disagreements", "scores")
    )
    assert table["pair"].equals(scores["pair"])
    assert not [name for name in table.column_names if name.startswith("text.")]
    delta = scores["chosen"].to_numpy() - scores["rejected"].to_numpy()
    own = np.concatenate(
        [
            table[f"own.{name}"].to_numpy()[part : part + 120]
            for name, part in zip(evaluation(config)["sources"], range(0, 360, 120), strict=True)
        ]
    )
    np.testing.assert_allclose(own, 1 / (1 + np.exp(-delta)), atol=1e-5)
    sizes = evaluation(config)["drifts"]["size"]
    assert all(0.1 < size < 10 for size in sizes.values())


def test_only_blocks_that_are_missing_are_computed(config: CalibrationConfig) -> None:
    parts = sorted(Path(config.features).rglob("*.parquet"))
    times = [part.stat().st_mtime_ns for part in parts]
    before = evaluation(config)
    parts[1].unlink()
    (Path(config.output_dir) / "eval.json").unlink()
    calibrate(config)
    assert [part.stat().st_mtime_ns == time for part, time in zip(parts, times, strict=True)] == [
        number != 1 for number in range(len(parts))
    ]
    assert evaluation(config) == before


def test_the_checkpoint_is_calibrated_as_it_is(config: CalibrationConfig) -> None:
    model = ModelConfig(path=str(Path(config.output_dir) / "model"))
    assert model_temperature(model)[0] == 1.0


def test_one_source_is_too_few(cluster: None, prepared_folder: str, tmp_path: Path) -> None:
    data = {"simulator": {"sources": 1, "pairs": 40, "test_pairs": 20}, "prepared": prepared_folder}
    with pytest.raises(UserError, match=r"data\.sources: two or more are needed"):
        calibrate(make_config(tmp_path, prepared_folder, data=data))


def test_a_folder_belongs_to_its_settings(config: CalibrationConfig) -> None:
    with pytest.raises(UserError, match="holds a calibration with folds=5, not 3"):
        calibrate(config.changed(folds=3))


def test_a_population_s_own_model_is_a_plain_checkpoint(config: CalibrationConfig) -> None:
    """As `models/NAME`, and by `model.source` wherever a model is read."""
    run = Path(config.output_dir)
    before = (run / "scores.parquet").stat().st_mtime_ns
    calibrate(config.changed(export="population_2"))
    assert (run / "scores.parquet").stat().st_mtime_ns == before  # nothing is fitted again
    model = str(run / "models" / "population_2")
    for folder, whose in ((run / "model", "everybody's head"), (model, "the head of population_2")):
        assert f"This model has {whose}." in Path(folder, "README.md").read_text()
    tokenizer = AutoTokenizer.from_pretrained(model)
    score = pipeline("text-classification", model, tokenizer=tokenizer, function_to_apply="none")
    pair = next(iter(Simulator(sources=SOURCES, drift=2.0).pairs("population_2", "test", 0, 120)))
    texts = [render(tokenizer, pair.prompt, answer) for answer in (pair.chosen, pair.rejected)]
    chosen, rejected = (one["score"] for one in score(texts))

    kept = ModelConfig(path=str(run / "model"), source="population_2")
    scored = evaluate(
        EvaluationConfig(model=kept, data=config.data, output_dir=str(run.parent / "by-source"))
    )
    own = evaluation(config)["sources"]["population_2"]
    assert scored["sources"]["population_2"]["nll"] == pytest.approx(own["nll"], abs=1e-5)
    table = pq.read_table(run.parent / "by-source" / "scores.parquet").to_pylist()
    assert any(
        row["chosen"] == pytest.approx(chosen, abs=1e-5)
        and row["rejected"] == pytest.approx(rejected, abs=1e-5)
        for row in table
        if row["source"] == "population_2"
    )


def test_heads_that_a_model_does_not_have_are_one_line(
    config: CalibrationConfig, tmp_path: Path
) -> None:
    tokenizer = training_tokenizer(ModelConfig(), 512)
    model = str(Path(config.output_dir) / "model")
    with pytest.raises(ModelError, match="has heads of population_1, population_2, population_3"):
        load_reward_model(ModelConfig(path=model, source="nobody"), tokenizer)
    alone = tmp_path / "model"
    shutil.copytree(model, alone)
    with pytest.raises(
        ModelError, match=r"has no heads\.safetensors beside it; allowed: the model of"
    ):
        load_reward_model(ModelConfig(path=str(alone), source="population_1"), tokenizer)
    shutil.copy(Path(config.output_dir) / "heads.safetensors", tmp_path)
    moved = load_reward_model(ModelConfig(path=str(alone), source="population_1"), tokenizer)
    with torch.no_grad():
        moved.classifier.base_model.layers[0].mlp.up_proj.weight.mul_(1.01)
    moved.classifier.save_pretrained(alone)
    with pytest.raises(ModelError, match="holds heads of another trunk"):
        load_reward_model(ModelConfig(path=str(alone), source="population_1"), tokenizer)


def test_people_who_were_kept_out_get_the_probabilities_of_strangers(
    config: CalibrationConfig, tmp_path: Path
) -> None:
    data = config.data.changed(train_on=["population_1", "population_2"])
    one = config.changed(data=data, output_dir=str(tmp_path / "run"))
    found = calibrate(one)
    assert list(found["sources"]) == [f"population_{number}" for number in (1, 2, 3)]
    stranger = found["sources"]["population_3"]
    assert stranger["nll"] < found["shared"]["sources"]["population_3"]["nll"]
    assert stranger["accuracy"] == found["shared"]["sources"]["population_3"]["accuracy"]
    nobody = data.changed(train_on=["nobody", "population_1"])
    other = one.changed(data=nobody, output_dir=str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"data\.train_on: no source nobody; there are popul"):
        calibrate(other)
    with pytest.raises(UserError, match=r"export: no head of population_3; there are p"):
        calibrate(one.changed(export="population_3"))


def foreign(folder: Path, kind: Any, shape: Any) -> str:
    """Somebody else's reward model: its head scores nearly at random, and is much too sure."""
    tokenizer = training_tokenizer(ModelConfig(), 512)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 96}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4}
    model = kind(shape(num_labels=1, pad_token_id=tokenizer.pad_token_id, **sizes))
    if hasattr(model, "score"):
        model.score.weight.data.mul_(100)
    model.save_pretrained(folder)
    return str(folder)


def test_a_foreign_classifier_is_cooled_and_ranks_as_before(
    config: CalibrationConfig, tmp_path: Path
) -> None:
    path = foreign(tmp_path / "theirs", LlamaForSequenceClassification, LlamaConfig)
    settings = config.changed(
        fit="temperature", model=ModelConfig(path=path), output_dir=str(tmp_path / "run")
    )
    found = calibrate(settings)
    plain = EvaluationConfig(
        model=ModelConfig(path=path), data=config.data, output_dir=str(tmp_path / "plain")
    )
    before = evaluate(plain)
    assert found["mean"]["accuracy"] == before["mean"]["accuracy"]
    assert found["shared"]["mean"]["nll"] < before["mean"]["nll"]
    assert found["shared"]["mean"]["ece"] < before["mean"]["ece"] / 2

    tables = [pq.read_table(tmp_path / one / "scores.parquet") for one in ("plain", "run")]
    raw_N, own_N = (table["chosen"].to_numpy() - table["rejected"].to_numpy() for table in tables)
    first = slice(0, 120)
    np.testing.assert_array_equal(np.argsort(raw_N[first]), np.argsort(own_N[first]))
    cooling = raw_N[first] / own_N[first]
    np.testing.assert_allclose(cooling, cooling[0], rtol=1e-3)

    calibrated = str(tmp_path / "run" / "model")
    tokenizer = AutoTokenizer.from_pretrained(calibrated)
    score = pipeline(
        "text-classification", calibrated, tokenizer=tokenizer, function_to_apply="none"
    )
    nll = []
    for pair in Simulator(sources=SOURCES, drift=2.0).pairs("population_1", "test", 0, 120):
        texts = [render(tokenizer, pair.prompt, answer) for answer in (pair.chosen, pair.rejected)]
        chosen, rejected = (one["score"] for one in score(texts))
        nll.append(np.logaddexp(0, rejected - chosen))
    shared = found["shared"]["sources"]["population_1"]
    assert np.mean(nll) == pytest.approx(shared["nll"], abs=1e-4)


def test_heads_of_other_shapes_are_one_line(config: CalibrationConfig, tmp_path: Path) -> None:
    path = foreign(tmp_path / "theirs", BertForSequenceClassification, BertConfig)
    theirs = config.changed(model=ModelConfig(path=path), output_dir=str(tmp_path / "run"))
    with pytest.raises(ModelError, match="has no bias-free `score` head"):
        calibrate(theirs)
    without = config.changed(fit="temperature", output_dir=str(tmp_path / "other"))
    with pytest.raises(UserError, match="fit: temperature given; tiny has no reward head"):
        calibrate(without)
