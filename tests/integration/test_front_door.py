"""The verbs in Python, as a notebook calls them."""

from __future__ import annotations

import asyncio
import html
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from support import free_ports, job_command, without_cluster, write_lines

import more_ray
from more_ray.config import RunConfig

pytestmark = pytest.mark.integration
TINY: dict[str, Any] = {
    "data": {"simulator": {"sources": 3, "pairs": 96, "test_pairs": 60}},
    "train": {"pairs_per_source": 8, "max_steps": 2, "threads": 1},
}
CELL = """
import more_ray
trained = more_ray.train(TINY, output_dir=FOLDER, compare=["raw"])
scorer = more_ray.load(trained)
good, bad = scorer.score("How are plants watered?", ["With water.", "No."])
page = trained._repr_html_()  # what a cell shows that ends with `trained`
"""


def in_notebook(work: Callable[[], Any]) -> Any:
    """What `work` returns in a thread whose event loop is running, as a notebook's is."""

    async def run() -> Any:
        return work()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def cell(
    cluster: None, prepared_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the notebook's cell leaves behind."""
    tiny = TINY | {"data": TINY["data"] | {"prepared": prepared_folder}}
    names = {"TINY": tiny, "FOLDER": str(tmp_path_factory.mktemp("door") / "run")}
    in_notebook(lambda: exec(CELL, names))
    return names


def test_a_cell_trains_scores_and_shows_the_page(cell: dict[str, Any]) -> None:
    trained, folder = cell["trained"], cell["FOLDER"]
    assert trained.folder == folder
    assert trained.model == f"{folder}/more/model"
    assert list(trained.evaluations) == ["MORE", "untrained"]
    content = json.loads(Path(folder, "more", "eval.json").read_text())
    assert trained.evaluations["MORE"] == content
    assert re.search(r"^MORE: accuracy 0\.\d{3}, ECE 0\.\d{3}$", repr(trained), re.MULTILINE)
    frame = re.fullmatch(r'<iframe srcdoc="([^"]*)" style="[^"]*"></iframe>', cell["page"])
    assert html.unescape(frame[1]) == Path(trained.report).read_text()


def test_what_is_loaded_scores_as_the_service_does(cell: dict[str, Any]) -> None:
    model, scorer = cell["trained"].model, cell["scorer"]
    question = {"prompt": "How are plants watered?", "responses": ["With water.", "No."]}
    (port,) = free_ports(1)

    def ask() -> Any:
        with more_ray.serve(model={"path": model}, port=port) as url:
            body = question | {"calibrated": True}
            return requests.post(f"{url}/score", json=body, timeout=60).json()

    served = in_notebook(ask)
    assert served["scores"] == pytest.approx([cell["good"], cell["bad"]], abs=1e-5)
    preference = scorer.preference(question["prompt"], *question["responses"])
    assert served["preferences"][0][1] == pytest.approx(preference, abs=1e-5)
    assert scorer.temperature != 1
    for path in (model, Path(model).parent):
        again = more_ray.load(path)
        assert again.score("How are plants watered?", ["With water."]) == [
            pytest.approx(cell["good"])
        ]
        assert again.temperature == scorer.temperature


def test_verbs_follow_each_other_on_one_cluster(
    cell: dict[str, Any], prepared_folder: str, tmp_path: Path
) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    data = {**TINY["data"], "prepared": prepared_folder}
    prepared = more_ray.prepare(RunConfig(), data=data)
    assert list(prepared.names) == ["population_1", "population_2", "population_3"]
    changes = {"data": data, "output_dir": str(tmp_path), "model.path": cell["trained"].model}
    evaluation = in_notebook(lambda: more_ray.evaluate(**changes))
    assert evaluation == json.loads((tmp_path / "eval.json").read_text())
    runs = [cell["trained"].folder + "/more", str(tmp_path)]
    page = more_ray.report(runs=runs, output=str(tmp_path / "page.html"))
    assert "<iframe" in page._repr_html_()
    assert page.path in repr(page)
    assert "sources" not in repr(page)
    assert ray.get_runtime_context().gcs_address == address


def test_a_mistake_is_raised(cell: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(more_ray.UserError, match="trian: unknown key, nearest known key: train"):
        more_ray.train(trian={})
    with pytest.raises(more_ray.UserError, match="no source population_9"):
        more_ray.train(
            cell["TINY"], output_dir=str(tmp_path), **{"data.train_on": ["population_9"]}
        )
    with pytest.raises(
        more_ray.UserError, match=r"holds several runs, each with a model: .*more, "
    ):
        more_ray.load(cell["FOLDER"])
    with pytest.raises(more_ray.UserError, match=r"model\.path: cannot load"):
        more_ray.load(tmp_path)
    with pytest.raises(more_ray.UserError, match="layer: unknown key"):
        more_ray.load(cell["trained"], layer=1)
    with pytest.raises(more_ray.UserError, match="does not end with a user turn"):
        cell["scorer"].rank([{"role": "assistant", "content": "x"}], ["a", "b"])


def test_training_finds_a_model_by_a_relative_path(
    cell: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(cell["trained"].model).parent)
    data = cell["TINY"]["data"]
    train = TINY["train"] | {"max_steps": 1}
    out = str(tmp_path / "again")
    found = more_ray.train(data=data, train=train, model={"path": "model"}, output_dir=out)
    assert found.evaluations["MORE"]["step"] == 1


UNREADABLE = "no preference data in columns question; allowed:"


@pytest.fixture
def unreadable(tmp_path: Path) -> dict[str, Any]:
    write_lines(tmp_path / "a.train.jsonl", [{"question": "How are plants watered?"}])
    return {"root": str(tmp_path), "prepared": str(tmp_path / "prepared")}


@pytest.mark.parametrize("verb", ["train", "evaluate", "calibrate", "finetune"])
def test_a_mistake_that_a_task_finds_is_one_line(
    verb: str, cell: dict[str, Any], unreadable: dict[str, Any], tmp_path: Path
) -> None:
    model = cell["trained"].model if verb == "evaluate" else "tiny"
    with pytest.raises(more_ray.UserError) as found:
        getattr(more_ray, verb)(
            model={"path": model}, data=unreadable, output_dir=str(tmp_path / "out")
        )
    assert UNREADABLE in str(found.value)
    assert len(str(found.value).splitlines()) == 1


def test_the_terminal_shows_that_line_alone(unreadable: dict[str, Any], tmp_path: Path) -> None:
    data = [f"data.{key}={value}" for key, value in unreadable.items()]
    command = job_command("prepare_data", *data, f"output_dir={tmp_path}/out")
    done = subprocess.run(
        command, env=without_cluster(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*a\.train\.jsonl: no preference data .*\n", done.stderr)
    assert "Traceback" not in done.stdout
