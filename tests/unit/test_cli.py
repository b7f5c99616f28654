from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from more_ray.cli import load_config
from more_ray.config import RunConfig, SweepConfig
from more_ray.config.base import dump
from more_ray.config.sweep import trial_config


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Optimizer(Section):
    lr: float = Field(1e-3, gt=0)
    """Peak learning
    rate."""
    schedule: Literal["linear", "constant"] = "linear"
    """Decay [after warm-up]."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Averaging coefficients."""


class Lora(Section):
    rank: int = Field(16, ge=1, le=64)
    """Rank of the update."""
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Layers that get an update."""


class Data(Section):
    sources: list[str] = []
    """Where pairs come from."""
    weights: dict[str, float] = {}
    """Weight of each source."""
    fraction: float | None = Field(0.1, gt=0, lt=1)
    """Share held out."""

    @field_validator("sources")
    @classmethod
    def _no_blank(cls, sources: list[str]) -> list[str]:
        if "" in sources:
            raise ValueError("a source\nhas no name")
        return sources

    @model_validator(mode="after")
    def _weights_have_sources(self) -> Data:
        if unknown := sorted(self.weights.keys() - set(self.sources)):
            raise ValueError(f"data.weights: {unknown} are not in data.sources")
        return self


class Run(Section):
    name: str
    """What to call it."""
    revision: str | None = None
    """Commit of the model."""
    data: Data = Data()
    """What is learnt from."""
    optimizer: Optimizer = Optimizer(schedule="constant")
    """How it is learnt."""
    lora: Lora | None = None
    """Train low-rank updates."""

    @model_validator(mode="after")
    def _name_is_no_revision(self) -> Run:
        if self.name == self.revision:
            raise ValueError("name and revision must differ")
        return self


def load(*argv: str) -> Run:
    return load_config(Run, ["name=n", *argv], "Trains.")


def errors(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    """The lines on stderr of a call that must end with status 2 and nothing on stdout."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_info:
        load_config(Run, list(argv), "Trains.")
    out, err = capsys.readouterr()
    assert exit_info.value.code == 2
    assert out == ""
    return err.splitlines()


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


# What is accepted.


def test_without_arguments_the_defaults_hold():
    assert load() == Run(name="n")


@pytest.mark.parametrize("text", ["1e-6", "1E-6", "0.000001", "1.0e-6"])
def test_every_spelling_of_a_float_is_a_float(text: str):
    assert load(f"optimizer.lr={text}").optimizer.lr == 1e-6


def test_values_are_yaml():
    config = load(
        "data.sources=[a, b=c]", "data.weights={a: 1e-1}", "data.fraction=null", "lora.rank=4"
    )
    assert config.data == Data(sources=["a", "b=c"], weights={"a": 0.1}, fraction=None)
    assert config.lora == Lora(rank=4)
    assert load("data.sources=[a]", "data.weights.a=2").data.weights == {"a": 2.0}
    assert load("lora.targets=[q, v]").lora.targets == ["q", "v"]
    assert load("lora={}").lora == Lora()


@pytest.mark.parametrize("text", ["12e4567", "007", "2024-01-01", "on"])
def test_text_stays_as_it_was_typed(text: str):
    assert load(f"revision={text}").revision == text


def test_null_is_no_text():
    assert load("revision=x", "revision=null").revision is None


def test_a_later_override_wins():
    assert load("optimizer.lr=1", "optimizer.lr=2").optimizer.lr == 2


def test_a_section_keeps_what_its_default_sets():
    config = load("optimizer.lr=1")
    assert config.optimizer == Optimizer(lr=1, schedule="constant")


def test_overrides_win_over_file_and_file_over_base(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    write(
        tmp_path / "root.yaml", "name: root\nrevision: r\ndata: {sources: [a], weights: {a: 1}}\n"
    )
    write(tmp_path / "deep" / "mid.yaml", "base: ../root.yaml\nname: mid\noptimizer: {lr: 1e-6}\n")
    top = write(tmp_path / "top.yaml", "base: deep/mid.yaml\ndata: {fraction: 0.5}\nlora: {}\n")
    config = load_config(Run, ["lora.rank=2", f"--config={top}", "optimizer.betas=[0, 0.5]"], "")
    assert config == Run(
        name="mid",
        revision="r",
        data=Data(sources=["a"], weights={"a": 1}, fraction=0.5),
        optimizer=Optimizer(lr=1e-6, schedule="constant", betas=(0, 0.5)),
        lora=Lora(rank=2),
    )


def test_an_empty_file_changes_nothing(tmp_path: Path):
    assert load("--config", write(tmp_path / "empty.yaml", "# nothing\n")) == Run(name="n")


@given(
    name=st.text(),
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    sources=st.lists(st.text(min_size=1)),
    lora=st.none() | st.builds(Lora, rank=st.integers(1, 64)),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_dumped_config_loads_as_the_same(tmp_path: Path, name, lr, sources, lora):
    data = Data(sources=sources, weights=dict.fromkeys(sources, 0.5))
    config = Run(name=name, data=data, optimizer=Optimizer(lr=lr), lora=lora)
    path = write(tmp_path / "config.yaml", dump(config))
    assert load_config(Run, ["--config", path], "") == config


def test_a_dumped_config_is_yaml_in_the_order_of_the_model():
    assert dump(load("optimizer.lr=1e-6")) == (
        "name: n\nrevision: null\ndata:\n  sources: []\n  weights: {}\n  fraction: 0.1\n"
        "optimizer:\n  lr: 1.0e-06\n  schedule: constant\n  betas:\n  - 0.9\n  - 0.999\n"
        "lora: null\n"
    )


# What is refused, with its exact text.


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("optimiser.lr=1", "optimiser: unknown key, nearest known key: optimizer"),
        ("optimizer.lrr=1", "optimizer.lrr: unknown key, nearest known key: optimizer.lr"),
        ("lr=1", "lr: unknown key, nearest known key: optimizer.lr"),
        ("xyz=1", "xyz: unknown key, --help lists the known keys"),
        ("a..b=1", "a: unknown key, --help lists the known keys"),
        ("optimizer.lr=-1", "optimizer.lr: got -1, allowed: float > 0"),
        ("optimizer.lr=fast", "optimizer.lr: got 'fast', allowed: float > 0"),
        ("optimizer.lr=", "optimizer.lr: got None, allowed: float > 0"),
        ("optimizer.lr=.inf", "optimizer.lr: got inf, allowed: finite float > 0"),
        ("optimizer.lr.x=1", "optimizer.lr: got {'x': 1}, allowed: float > 0"),
        ("optimizer.schedule=cos", "optimizer.schedule: got 'cos', allowed: linear | constant"),
        ("optimizer.betas=[1]", "optimizer.betas: got [1], allowed: tuple[float, float]"),
        ("optimizer=3", "optimizer: got 3, allowed: section"),
        ("lora=3", "lora: got 3, allowed: section or null"),
        ("lora.rank=65", "lora.rank: got 65, allowed: int >= 1, <= 64"),
        ("lora.rank=1.5", "lora.rank: got 1.5, allowed: int >= 1, <= 64"),
        ("lora.targets=3", "lora.targets: got 3, allowed: list[str] or all-linear"),
        ("data.fraction=1", "data.fraction: got 1, allowed: float > 0, < 1 or null"),
        ("data.sources=[a, 3]", "data.sources: got ['a', 3], allowed: list[str]"),
        ("data.sources=a", "data.sources: got 'a', allowed: list[str]"),
        ("data.weights.a=x", "data.weights: got {'a': 'x'}, allowed: dict[str, float]"),
        ("data.sources=['']", "data.sources: a source has no name"),
        ("data.weights.a=1", "data.weights: ['a'] are not in data.sources"),
        ("revision=n", "name and revision must differ"),
        ("revision=[a]", "revision: got ['a'], allowed: str or null"),
        ("foo", "foo: not an override, allowed: dotted.key=value"),
        ("=1", "=1: not an override, allowed: dotted.key=value"),
        ("--lr=1", "--lr=1: unknown flag, allowed: --config FILE, --help and dotted.key=value"),
        ("-v", "-v: unknown flag, allowed: --config FILE, --help and dotted.key=value"),
        ("--config", "--config: takes one file, once"),
        ("--config=", "--config: takes one file, once"),
        ("--config=nope.yaml", "nope.yaml: No such file or directory"),
        (
            "data.sources=[a",
            "data.sources=[a: not YAML: line 1, expected ',' or ']', but got '<stream end>'",
        ),
        ("data.fraction=2024-99-99", "data.fraction=2024-99-99: not YAML: month must be in 1..12"),
        ("data.sources=&a [*a]", "data.sources=&a [*a]: not YAML: Circular reference detected"),
    ],
)
def test_a_mistake_is_one_line(capsys, argument: str, line: str):
    assert errors(capsys, "name=n", argument) == [f"error: {line}"]


def test_a_required_key_is_asked_for(capsys):
    assert errors(capsys) == ["error: name: required, allowed: str"]


def test_long_values_are_cut(capsys):
    [line] = errors(capsys, "name=n", f"optimizer.lr={'x' * 10_000}")
    assert len(line) < 200


def test_every_mistake_is_told(capsys):
    assert errors(capsys, "name=n", "lr=1", "optimizer.lr=0", "lora.rank=0") == [
        "error: optimizer.lr: got 0, allowed: float > 0",
        "error: lora.rank: got 0, allowed: int >= 1, <= 64",
        "error: lr: unknown key, nearest known key: optimizer.lr",
    ]
    assert errors(capsys, "foo", "--bar", "--config", "a", "--config", "b") == [
        "error: foo: not an override, allowed: dotted.key=value",
        "error: --bar: unknown flag, allowed: --config FILE, --help and dotted.key=value",
        "error: --config: takes one file, once",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a\n- b\n", "got ['a', 'b'], allowed: a mapping of keys"),
        (
            "name: n\ndata: [\n",
            "not YAML: line 3, expected the node content, but found '<stream end>'",
        ),
        ("base: 3\n", "base: got 3, allowed: a path"),
        ("base: bad.yaml\n", "extends itself through base"),
    ],
)
def test_a_bad_file_is_one_line(capsys, tmp_path: Path, text: str, reason: str):
    path = write(tmp_path / "bad.yaml", text)
    assert errors(capsys, "--config", path) == [f"error: {path}: {reason}"]


def test_other_bad_files_are_one_line(capsys, tmp_path: Path):
    child = write(tmp_path / "child.yaml", "base: gone.yaml\n")
    assert errors(capsys, "--config", child) == [
        f"error: {tmp_path / 'gone.yaml'}: No such file or directory"
    ]
    assert errors(capsys, "--config", str(tmp_path)) == [f"error: {tmp_path}: Is a directory"]
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    [line] = errors(capsys, "--config", str(tmp_path / "binary.yaml"))
    assert line.startswith(f"error: {tmp_path / 'binary.yaml'}: 'utf-8' codec can't decode")
    keys = write(tmp_path / "keys.yaml", "name: n\n1: 2\noptimizer: {lrr: 1}\n")
    assert errors(capsys, "--config", keys) == [
        "error: optimizer.lrr: unknown key, nearest known key: optimizer.lr",
        "error: 1: unknown key, --help lists the known keys",
    ]


# Help.


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_tells_every_key(capsys, monkeypatch, flag: str):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.argv", ["jobs/train.py"])
    with pytest.raises(SystemExit) as exit_info:
        load_config(Run, ["nonsense", flag], "Trains.")
    assert exit_info.value.code == 0
    assert (
        capsys.readouterr().out
        == """\
usage: python jobs/train.py [--config FILE] [dotted.key=value ...]

Trains.

name  str  required
    What to call it.
revision  str or null  = null
    Commit of the model.
data  section
    What is learnt from.
data.sources  list[str]  = []
    Where pairs come from.
data.weights  dict[str, float]  = {}
    Weight of each source.
data.fraction  float > 0, < 1 or null  = 0.1
    Share held out.
optimizer  section
    How it is learnt.
optimizer.lr  float > 0  = 0.001
    Peak learning rate.
optimizer.schedule  linear | constant  = constant
    Decay [after warm-up].
optimizer.betas  tuple[float, float]  = [0.9, 0.999]
    Averaging coefficients.
lora  section or null  = null
    Train low-rank updates.
lora.rank  int >= 1, <= 64  = 16
    Rank of the update.
lora.targets  list[str] or all-linear  = all-linear
    Layers that get an update.
"""
    )


# Anything at all.

KEYS = st.sampled_from(["name", "revision", "data", "data.sources", "optimizer.lr", "lora", "x.y"])
OVERRIDES = st.builds("{}={}".format, KEYS, st.text() | st.floats().map(str))


@given(st.lists(st.text() | OVERRIDES))
@settings(deadline=None)
def test_any_arguments_end_in_a_config_or_in_exit(argv: list[str]):
    try:
        config = load_config(Run, argv, "Trains.")
    except SystemExit as exit_info:
        assert exit_info.code in (0, 2)  # noqa: PT017  (not raised by every example)
    else:
        assert math.isfinite(config.optimizer.lr)


# Keys of earlier versions.


def test_the_old_name_of_a_key_is_its_new_one(tmp_path: Path):
    file = write(tmp_path / "a.yaml", "data: {pairs_per_source: 5}")
    assert load_config(RunConfig, ["--config", file], "").data.max_pairs == 5
    for override in ("data.max_pairs=6", "data.pairs_per_source=6"):
        for text in ("data: {pairs_per_source: 5}", "data: {max_pairs: 5}"):
            config = load_config(
                RunConfig, ["--config", write(tmp_path / "a.yaml", text), override], ""
            )
            assert config.data.max_pairs == 6
    space = {"data.pairs_per_source": [7]}
    sweep = SweepConfig(space=space)
    assert trial_config(sweep.run, {"data.pairs_per_source": 7}).data.max_pairs == 7
