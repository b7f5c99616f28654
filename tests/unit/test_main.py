"""The verbs of the command line, and the scripts in `jobs/` that do the same."""

from __future__ import annotations

import runpy
import subprocess
import sys
from functools import partial

import pytest
from support import REPOSITORY

from more_ray import api
from more_ray.commands import VERBS, main
from more_ray.errors import UserError

JOBS = {
    "train": "train_more",
    "prepare": "prepare_data",
    "serve": "serve_reward",
    "sample": "rejection_sampling",
}
"""Scripts that are not called like their verb."""


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["more-ray", *arguments])
    main()


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_alone_it_lists_the_verbs(capsys, monkeypatch, arguments: tuple[str, ...]) -> None:
    call(monkeypatch, *arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: more-ray VERB [--config FILE] [dotted.key=value ...]"
    assert [line.split()[0] for line in lines[2:-2]] == list(VERBS)
    assert "train     Train a MORE reward model on several preference sources." in lines


def test_an_unknown_verb_is_one_line(capsys, monkeypatch) -> None:
    with pytest.raises(SystemExit) as exit_info:
        call(monkeypatch, "trian", "--help")
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: trian: unknown verb, nearest known verb: train\n"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "demo"])
def test_a_job_is_its_verb(capsys, monkeypatch, verb: str) -> None:
    """By its help: of the same sentence and keys."""
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        call(monkeypatch, verb, "--help")
    usage, sentence, *_, keys = capsys.readouterr().out.split("\n\n")
    name = str(REPOSITORY / "jobs" / f"{JOBS.get(verb, verb)}.py")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(name, run_name="__main__")
    assert exit_info.value.code == 0
    of_job = capsys.readouterr().out.split("\n\n")
    assert usage.startswith(f"usage: more-ray {verb} ")
    assert of_job[0].startswith(f"usage: python {name} ")
    assert of_job[1].split() == sentence.split()
    assert of_job[-1] == keys


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_key_is_one_line_and_status_2(capsys, monkeypatch, verb: str) -> None:
    with pytest.raises(SystemExit) as exit_info:
        call(monkeypatch, verb, "nonsense=1")
    assert exit_info.value.code == 2
    assert "error: nonsense: unknown key" in capsys.readouterr().err


def test_the_demo_is_the_quickstart(monkeypatch) -> None:
    runs = {}
    for verb, *given in ("demo",), ("train", "--config", "quickstart"):
        monkeypatch.setitem(VERBS, verb, (VERBS[verb][0], partial(runs.__setitem__, verb)))
        call(monkeypatch, verb, *given, "train.workers=1")
    assert runs["demo"] == runs["train"]
    assert (runs["demo"].compare, runs["demo"].train.workers) == (["proportional"], 1)


def test_help_imports_neither_ray_nor_torch() -> None:
    code = f"""
import runpy, sys
for verb in {list(VERBS)}:
    sys.argv = ["more-ray", verb, "--help"]
    try: runpy.run_module("more_ray", run_name="__main__")
    except SystemExit as error: assert error.code == 0
assert not {{"ray", "torch", "pandas"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_what_the_user_can_mend_is_one_line_and_status_1(monkeypatch) -> None:
    def fail(config: object) -> None:
        raise UserError("runs: nothing there")

    monkeypatch.setattr(api, "report", fail)
    with pytest.raises(SystemExit) as exit_info:
        call(monkeypatch, "report", "runs=[x]")
    assert exit_info.value.code == "error: runs: nothing there"
