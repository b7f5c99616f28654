"""What settings name must be there, before Ray starts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from more_ray.config import (
    AlignConfig,
    EvaluationConfig,
    JudgeConfig,
    ModelConfig,
    RejectionSamplingConfig,
    RunConfig,
    ServeConfig,
    SweepConfig,
)
from more_ray.config.base import Section
from more_ray.errors import DataError, ModelError, UserError
from more_ray.model.place import place
from more_ray.model.population import heads_file
from more_ray.paths import check_file, check_folders, check_paths
from more_ray.run_folder import HEADS

NOWHERE = {"path": "/nowhere/model"}
ANSWERS = {"model": "judge", "answers": "a.parquet", "against": "b.parquet"}
PROMPTS = {"prompts": "p.jsonl", "eval_prompts": "p.jsonl"}


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (RunConfig, {"data": {"root": "/nowhere"}}, "data.root: no folder /nowhere"),
        (
            RunConfig,
            {"data": {"sources": ["a=/nowhere/a.jsonl"]}},
            "/nowhere/a.jsonl: no such file",
        ),
        (RunConfig, {"data": {"sources": ["helpfull"]}}, "nearest: helpful"),
        (RunConfig, {"model": NOWHERE}, "model.path: cannot load /nowhere/model"),
        (RunConfig, {"model": {"path": "outputs/my/model"}}, "cannot load outputs/my/model"),
        (RunConfig, {"model": {"path": "~/model"}}, f"cannot load {Path.home()}/model"),
        (RunConfig, {"model": {"path": "a/model.gguf"}}, "model.path: no file a/model.gguf"),
        (RunConfig, {"model": {"path": "package:nowhere/a.gguf"}}, "package nowhere is not"),
        (RunConfig, {"model": {"path": "package:nowhere.sub/a.gguf"}}, "package nowhere.sub is"),
        (EvaluationConfig, {"model": NOWHERE}, "cannot load /nowhere/model"),
        (ServeConfig, {"model": NOWHERE}, "cannot load /nowhere/model"),
        (SweepConfig, {"run": {"model": NOWHERE}}, "run.model.path: cannot load"),
        (AlignConfig, {"reward": {"model": NOWHERE}, **PROMPTS}, "reward.model.path: cannot load"),
        (AlignConfig, {"policy": NOWHERE, **PROMPTS}, "policy.path: cannot load /nowhere/model"),
        (AlignConfig, {"gold": NOWHERE, **PROMPTS}, "gold.path: cannot load /nowhere/model"),
        (
            RejectionSamplingConfig,
            {"prompts": "p.jsonl", "reward": NOWHERE},
            "reward.path: cannot load /nowhere/model",
        ),
    ],
)
def test_what_is_not_there(kind: type[Section], given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as found:
        check_paths(kind.model_validate(given))
    assert said in str(found.value)
    assert "\n" not in str(found.value)


def test_models_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base" / "model").mkdir(parents=True)
    (tmp_path / "base" / HEADS).touch()
    (tmp_path / "mine.gguf").touch()
    model = ModelConfig(path="~/base/model")
    assert place(model) == str(tmp_path / "base" / "model")
    assert heads_file(model) == tmp_path / "base" / HEADS
    assert place(ModelConfig(path="~/mine.gguf")) == str(tmp_path / "mine.gguf")


@pytest.mark.parametrize(
    ("kind", "given", "key"),
    [
        (RunConfig, {"output_dir": "FILE"}, "output_dir"),
        (RunConfig, {"output_dir": "FILE/below/it"}, "output_dir"),
        (RunConfig, {"train": {"features": "FILE"}}, "train.features"),
        (RunConfig, {"data": {"prepared": "FILE"}}, "data.prepared"),
        (AlignConfig, {"reward": {"output_dir": "FILE"}, **PROMPTS}, "reward.output_dir"),
        (JudgeConfig, {"cache": "FILE", **ANSWERS}, "cache"),
    ],
)
def test_a_file_is_no_folder_to_write_to(
    kind: type[Section], given: dict[str, Any], key: str, tmp_path: Path
) -> None:
    file = tmp_path / "a file"
    file.write_text("mine")
    config = kind.model_validate_json(json.dumps(given).replace("FILE", str(file)))
    with pytest.raises(UserError, match=rf"^{key}: .*{file} is a file; allowed: a folder$"):
        check_folders(config)
    assert file.read_text() == "mine"


def test_folders_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_folders(RunConfig(output_dir=str(tmp_path / "new" / "one")))
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match=r"^output_dir: nowhere://bucket/run: .*nowhere"):
        check_folders(RunConfig(output_dir="nowhere://bucket/run"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UserError, match=f"^output_dir: {tmp_path}/x: {tmp_path} cannot be written"):
        check_folders(RunConfig(output_dir=f"{tmp_path}/x"))


def test_a_page_is_a_file(tmp_path: Path) -> None:
    check_file("output", str(tmp_path / "report.html"))
    with pytest.raises(UserError, match=f"^output: {tmp_path} is a folder; allowed: a file$"):
        check_file("output", str(tmp_path))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listener in the hub's place."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield listener


def test_without_a_network_a_model_of_the_hub_is_found_in_the_cache_or_not_at_all(
    hub: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    named = RunConfig(model={"path": "ORG/NAME"})
    check_paths(named)
    hub.close()
    with pytest.raises(
        ModelError, match=r"ORG/NAME is neither .* cannot be reached: Connection ref"
    ):
        check_paths(named)
    kept = tmp_path / "models--ORG--NAME"
    (kept / "snapshots" / "a1").mkdir(parents=True)
    (kept / "snapshots" / "a1" / "config.json").write_text("{}")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("a1")
    check_paths(named)


@pytest.mark.parametrize("name", ["my model", "a--b"])
def test_what_cannot_be_a_name_of_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match=f"^model.path: no folder {name}, and no name of the hub$"):
        check_paths(RunConfig(model={"path": name}))


def test_what_is_there_and_what_only_the_hub_knows(tmp_path: Path, hub: socket.socket) -> None:
    (tmp_path / "a.train.jsonl").write_text("")
    check_paths(RunConfig(data={"root": str(tmp_path)}, model={"path": str(tmp_path)}))
    check_paths(RunConfig(data={"sources": ["helpful"]}, model={"path": "ORG/NAME"}))
    check_paths(RunConfig(model={"path": "gpt2"}))
    check_paths(RunConfig(data={"columns": {"a": {"prompt": "q"}}}))
    check_paths(RunConfig(init_from="outputs/first", model=NOWHERE))
    check_paths(RunConfig())


def test_what_is_trained_on_is_among_the_sources(tmp_path: Path) -> None:
    for name in ("polite", "brief"):
        (tmp_path / f"{name}.train.jsonl").write_text('{"who": "ann"}\n{"who": "bob"}\n')
    mine = {"root": str(tmp_path)}
    check_paths(RunConfig(data={**mine, "train_on": ["brief"]}))
    check_paths(RunConfig(data={"simulator": {"sources": 2}, "train_on": ["population_2"]}))
    by_column = {
        "sources": [f"all={tmp_path}/brief.train.jsonl"],
        "columns": {"all": {"source": "who"}},
    }
    check_paths(RunConfig(data={**by_column, "train_on": ["bob"]}))

    def said(**data: Any) -> str:
        with pytest.raises(DataError) as found:
            check_paths(RunConfig(data=data))
        return str(found.value).removeprefix("data.train_on: no source ")

    with pytest.raises(DataError, match=r"^data\.train_on: brief is given twice$"):
        check_paths(RunConfig(data={**mine, "train_on": ["brief", "polite", "brief"]}))
    assert said(**mine, train_on=["polit"]) == "polit, nearest: polite; there are brief, polite"
    assert said(**by_column, train_on=["all"]) == "all; there are ann, bob"
    assert said(simulator={"sources": 2}, train_on=["population_3"]) == (
        "population_3, nearest: population_2; there are population_1, population_2"
    )


def test_a_runs_folder_is_not_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in ("mine", "tiny"):
        (tmp_path / run / "model").mkdir(parents=True)
        (tmp_path / run / "model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    expected = "^model.path: mine is a run's folder; its model is mine/model$"
    with pytest.raises(ModelError, match=expected):
        check_paths(RunConfig(model={"path": "mine"}))
    check_paths(RunConfig(model={"path": "mine/model"}))
    check_paths(RunConfig(model={"path": "tiny"}))
    (tmp_path / "mine" / "config.json").write_text("{}")
    check_paths(RunConfig(model={"path": "mine"}))


def test_the_path_of_an_endpoint_is_not_read() -> None:
    policy = {"engine": "openai", "base_url": "http://localhost:1/v1", "name": "m", **NOWHERE}
    config = {"prompts": "p.jsonl", "reward": {"path": "tiny"}, "policy": policy}
    check_paths(RejectionSamplingConfig.model_validate(config))


def test_ray_has_not_started_when_a_path_is_wrong() -> None:
    code = (
        "import sys, more_ray\n"
        "try: more_ray.train(data={'root': '/nowhere'})\n"
        "except more_ray.UserError as error:\n"
        "    print(error, 'torch' in sys.modules, 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "data.root: no folder /nowhere False False\n"


def test_load_looks_for_its_model_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from huggingface_hub import constants\n"
        "constants.ENDPOINT, constants.HF_HUB_OFFLINE = 'http://127.0.0.1:1', False\n"
        f"constants.HF_HUB_CACHE = {str(tmp_path)!r}\n"
        "import more_ray\n"
        "for path in ('outputs/none', 'no/such/model'):\n"
        "    try: more_ray.load(path)\n"
        "    except more_ray.UserError as error:\n"
        "        print(error, 'torch' in sys.modules, 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "model.path: outputs/none is neither a folder here nor in the hub's cache, and "
        "http://127.0.0.1:1 cannot be reached: Connection refused False False\n"
        "model.path: cannot load no/such/model: there is no such folder False False\n"
    )
