"""Model cards: what they say, and that the code in them gives our scores."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from support import REPOSITORY, without_cluster

import more_ray
from more_ray.config import CalibrationConfig, ModelConfig, RunConfig
from more_ray.config.base import dump
from more_ray.metrics.evaluation import Evaluation
from more_ray.metrics.perplexity import Likelihoods, summarise_likelihoods
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import summarise
from more_ray.model.card import About, write_card
from more_ray.model.export import export
from more_ray.model.heads_file import Calibration, Heads
from more_ray.model.loading import load_classifier, load_policy
from more_ray.model.tokenizer import training_tokenizer
from more_ray.run_folder import base_of

PAIRS = 60
ANSWERS = ["At the roots, in the morning.", "Never."]
"""Those of the code in the card."""


def evaluation(sharpness: float = 1.0, names: tuple[str, ...] = ("helpful", "mine")) -> Evaluation:
    scores = {}
    for place, name in enumerate(names):
        rng = np.random.default_rng(place)
        delta_N = sharpness * (rng.normal(size=PAIRS) + 0.4)
        lengths = rng.integers(1, 9, (2, PAIRS))
        scores[name] = SourceScores(np.arange(PAIRS), delta_N, np.zeros(PAIRS), *lengths)
    return summarise(scores, "more", 12, seed=0, resamples=100)


def likelihoods() -> Evaluation:
    rng = np.random.default_rng(0)
    found = Likelihoods(np.arange(PAIRS), 20 * rng.random(PAIRS), rng.integers(5, 20, PAIRS))
    return summarise_likelihoods({"mine": found}, "proportional", 12, seed=0, resamples=100)


def environment(home: Path) -> dict[str, Any]:
    return {
        "command": f"python {home}/more_ray/jobs/train_more.py data.root={home}/data",
        "commit": "abc1234",
        "versions": {"more-ray": "0.1.0", "deepspeed": None},
        "data": {
            "helpful": {"train": 1_000, "test": 60, "file": None},
            "mine": {"train": 50, "test": 60, "file": f"{home}/data/mine.train.jsonl"},
        },
    }


def finished(config: RunConfig | CalibrationConfig, found: Evaluation, home: Path) -> Path:
    """The folder of a run or calibration, with a real export; returns its model's folder."""
    run = Path(config.output_dir)
    tokenizer = training_tokenizer(ModelConfig(), config.data.max_length)
    is_policy = isinstance(config, RunConfig) and config.objective.loss != "ranking"
    load = load_policy if is_policy else load_classifier
    base = home / "base"
    load(ModelConfig(), tokenizer, torch.float32, seed=1).save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = load(ModelConfig(path=str(base)), tokenizer, torch.float32, seed=1)
    export(model, model.state_dict(), None, tokenizer, run / "model")
    for name, content in (("eval.json", found), ("environment.json", environment(home))):
        (run / name).write_text(json.dumps(content))
    (run / "config.yaml").write_text(dump(config))
    return run / "model"


def code_in(card: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card.read_text(), re.S)


def printed(code: str, folder: Path) -> list[str]:
    """What the code prints where a reader would run it."""
    changes = {"PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=without_cluster(**changes),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("somebody")


@pytest.fixture(scope="module")
def model(home: Path) -> Path:
    config = RunConfig(output_dir=str(home / "outputs" / "run7"), model={"path": f"{home}/base"})
    folder = finished(config, evaluation(), home)
    write_card(config)
    return folder


def test_the_code_in_the_card_gives_our_scores(model: Path) -> None:
    plain, ours = code_in(model / "README.md")
    scorer = more_ray.load(model)
    assert repr(scorer) == f"<reward model {model}>"
    scores = scorer.score("How are plants watered?", ANSWERS)
    assert abs(scores[0] - scores[1]) > 1e-3
    assert float(printed(plain, model)[-1]) == pytest.approx(scores[0], abs=1e-5)
    *_, listed, preference = printed(ours, model)
    assert ast.literal_eval(listed) == pytest.approx(scores, abs=1e-5)
    expected = scorer.preference("How are plants watered?", *ANSWERS)
    assert float(preference) == pytest.approx(expected, abs=1e-5)


def test_nothing_in_the_folder_names_a_path_of_the_machine(model: Path, home: Path) -> None:
    texts = {
        path.name: path.read_text() for path in model.iterdir() if path.suffix != ".safetensors"
    }
    assert texts.keys() >= {"README.md", "environment.json", "config.json"}
    assert not [name for name, text in texts.items() if home.name in text or "/home" in text]
    assert "It began as `base`." in texts["README.md"]
    assert json.loads(texts["environment.json"]) == {
        "commit": "abc1234",
        "versions": {"more-ray": "0.1.0", "deepspeed": None},
        "data": {"helpful": {"train": 1_000, "test": 60}, "mine": {"train": 50, "test": 60}},
    }


def test_the_hub_reads_the_metadata(model: Path) -> None:
    found = evaluation()["sources"]
    data = ModelCard.load(model / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")
    assert data.tags == ["reward-model", "more-ray", "more"]
    assert (data.model_name, data.base_model, data.license) == ("run7", None, None)
    values = {(one.dataset_name, one.metric_type): one.metric_value for one in data.eval_results}
    assert values == {
        (name, key): round(found[name][key], 4)
        for name in ("helpful", "mine")
        for key in ("accuracy", "ece")
    }
    assert (model / "README.md").read_text().startswith("---\n# license: ")


def test_the_hub_links_its_own_models_and_data_sets() -> None:
    config = RunConfig(
        model={"path": "Somebody/model-1b", "revision": "v2"},
        data={"sources": ["helpful", "harmless", "oasst1"], "train_on": ["helpful"]},
    )
    card = ModelCard(About(config, evaluation(), environment(Path("/home/somebody"))).card())
    assert card.data.base_model == "Somebody/model-1b"
    assert card.data.datasets == ["Anthropic/hh-rlhf", "OpenAssistant/oasst1"]
    assert {one.dataset_type for one in card.data.eval_results} == {"Anthropic/hh-rlhf", "mine"}
    assert "(https://huggingface.co/Somebody/model-1b), revision v2\n" in card.text
    assert "| helpful | 1,000 | 60 | [Anthropic/hh-rlhf](https://hugg" in card.text
    assert "| mine | none | 60 | `mine.train.jsonl` |" in card.text


def test_sources_of_one_data_set_keep_their_own_results() -> None:
    config = RunConfig(data={"sources": ["helpful", "harmless"]})
    found = evaluation(names=("helpful", "harmless"))
    card = ModelCard(About(config, found, environment(Path("/home/somebody"))).card())
    results = [one for one in card.data.eval_results if one.metric_type == "accuracy"]
    assert [(one.dataset_name, one.dataset_config) for one in results] == [
        ("helpful", "helpful"),
        ("harmless", "harmless"),
    ]


def test_a_data_set_in_a_folder_is_named_without_where_it_lies() -> None:
    about = About(RunConfig(), evaluation(), environment(Path("/home/somebody")))
    address = "hub:/home/somebody/mine:train?data_dir=%2Fhome%2Fsomebody%2Fx"
    assert about._origin("mine", address) == "`mine`"
    assert (
        about._origin("mine", "/home/a/one.jsonl,/home/a/two.jsonl") == "`one.jsonl`, `two.jsonl`"
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("tiny", "a small LLaMA with random weights"),
        ("/home/somebody/models/base", "`base`"),
        ("~/base/", "`base`"),
        ("package:weights/small.gguf", "`small.gguf`"),
        ("s3://bucket/somebody/base", "`base`"),
        (".", "`.`"),
    ],
)
def test_a_base_from_elsewhere_is_named_by_its_last_part(path: str, said: str) -> None:
    config = RunConfig(model={"path": path}, output_dir="/home/somebody/run")
    card = About(config, evaluation(), environment(Path("/home/somebody"))).card()
    assert f"It began as {said}." in card
    assert "base_model" not in card
    assert "somebody" not in card


def test_the_table_has_intervals_and_floors(model: Path) -> None:
    rows = [line.split(" | ") for line in (model / "README.md").read_text().splitlines()]
    found = evaluation()
    heads = ["| source", "test pairs", "accuracy", "ECE", "floor", "NLL", "T", "longer |"]
    assert heads in rows
    for name, measures in (*found["sources"].items(), ("mean", found["mean"])):
        (row,) = (row for row in rows if len(row) == len(heads) and row[0] == f"| {name}")
        low, high = measures["ece_ci"]
        assert row[3] == f"{measures['ece']:.3f} ({low:.3f}-{high:.3f})"
        assert row[4] == f"{measures['ece_noise_floor']:.3f}"


def test_a_calibration_says_whose_head_it_is_and_how_to_choose(home: Path) -> None:
    found = evaluation()
    shared = evaluation(0.5)
    found["shared"] = {"sources": shared["sources"], "mean": shared["mean"]}
    vectors = (np.zeros(3), np.zeros((2, 3)))
    temperature_K = np.array([1.5, 0.7])
    heads = Calibration(("helpful", "mine"), "trunk", Heads(*vectors), 0.1, 1.25, temperature_K)
    config = CalibrationConfig(output_dir=str(home / "calibrated"))
    everybody = About(config, found, environment(home), heads).card()
    assert "This model has everybody's head." in everybody
    assert f"| mean | 120 | {shared['mean']['accuracy']:.3f} (" in everybody
    assert f"| everybody's | 1.250 | {shared['mean']['accuracy']:.3f} (" in everybody
    assert f"| mine | 0.700 | {found['sources']['mine']['accuracy']:.3f} (" in everybody
    assert "already divided by its temperature" in everybody

    finished(config, found, home)
    write_card(config, heads, "mine")
    folder = home / "calibrated" / "models" / "mine"
    card = ModelCard.load(folder / "README.md")
    assert (card.data.model_name, len(card.data.eval_results)) == ("calibrated-mine", 2)
    assert "This model has the head of mine." in card.text
    assert f"| mine | 60 | {found['sources']['mine']['accuracy']:.3f} (" in card.text
    assert "| helpful | 60 |" not in card.text
    assert (folder / "environment.json").exists()


def test_a_policy_has_a_card_of_its_own_kind(tmp_path: Path) -> None:
    config = RunConfig(
        output_dir=str(tmp_path / "policy"), objective={"loss": "sft", "scheme": "proportional"}
    )
    folder = finished(config, likelihoods(), tmp_path)
    write_card(config)
    card = ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.tags == ["sft", "more-ray", "proportional"]
    (result,) = card.data.eval_results
    perplexity = likelihoods()["sources"]["mine"]["perplexity"]
    assert (result.metric_type, result.metric_value) == ("perplexity", round(perplexity, 4))
    assert f"| mine | {PAIRS} | {perplexity:.2f} (" in card.text
    (code,) = code_in(folder / "README.md")
    assert printed(code, folder)


def test_a_dpo_policy_says_what_its_accuracy_is() -> None:
    config = RunConfig(objective={"loss": "dpo"})
    card = ModelCard(About(config, evaluation(), {}).card())
    assert card.data.tags == ["dpo", "more-ray", "more"]
    assert "The reward of an answer is what its log-likelihood" in card.text
    assert "## Calibration" not in card.text


def test_evaluations_of_earlier_versions_have_cards() -> None:
    found = evaluation()
    for row in (*found["sources"].values(), found["mean"]):
        for key in ("ece_ci", "temperature", "longer_answer_accuracy"):
            del row[key]
    assert "| mine | 60 |" in About(RunConfig(), found, {}).card()


def test_the_base_is_found_through_runs_and_calibrations(tmp_path: Path) -> None:
    run = RunConfig(model={"path": "Somebody/model-1b"})
    calibration = CalibrationConfig(model={"path": f"{tmp_path}/run/model"})
    for name, config in (("run", run), ("calibration", calibration)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(dump(config))
    assert base_of(f"{tmp_path}/calibration/model") == "Somebody/model-1b"
    assert base_of(f"{tmp_path}/calibration/models/mine") == "Somebody/model-1b"
    assert base_of("Somebody/model-1b") == "Somebody/model-1b"
