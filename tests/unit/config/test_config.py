from __future__ import annotations

from pathlib import Path

import pytest
from support import REPOSITORY

from more_ray.cli import load_config
from more_ray.commands import VERBS
from more_ray.config import (
    CalibrationConfig,
    FineTuneConfig,
    PairsRunConfig,
    RunConfig,
    SimulatorConfig,
)
from more_ray.config.align import AlignConfig
from more_ray.config.base import dump, read
from more_ray.config.reading import allowed, settings, walk
from more_ray.config.sweep import SweepConfig
from more_ray.errors import UserError
from more_ray.run_folder import check_same

FOLDER = REPOSITORY / "more_ray" / "config" / "ready"
CHAINS = sorted(FOLDER.glob("align-*.yaml"))
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - set(CHAINS))
SWEEPS = sorted((FOLDER / "sweeps").glob("*.yaml"))


def test_a_ready_config_goes_by_its_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_name = settings(RunConfig, "pythia-1.4b", {})
    assert by_name == load_config(RunConfig, ["--config", str(FOLDER / "pythia-1.4b.yaml")], "")
    assert load_config(SweepConfig, ["--config=sweeps/ece-versus-k"], "").sources == "chain"
    (tmp_path / "mine.yaml").write_text("base: pythia-1.4b\noutput_dir: mine\n")
    assert settings(RunConfig, "mine.yaml", {}) == by_name.changed(output_dir="mine")
    with pytest.raises(UserError) as error:
        settings(RunConfig, "pythia-1.4", {})
    assert str(error.value) == (
        "pythia-1.4: No such file or directory, nearest ready config: pythia-1.4b"
    )
    (tmp_path / "pythia-1.4b").write_text("output_dir: own\n")
    assert settings(RunConfig, "pythia-1.4b", {}) == RunConfig(output_dir="own")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads(path: Path) -> None:
    load_config(RunConfig, ["--config", str(path)], "")


@pytest.mark.parametrize("path", CHAINS, ids=lambda path: path.stem)
def test_every_chain_loads(path: Path) -> None:
    prompts = ["prompts=FILE", "eval_prompts=FILE"]
    load_config(AlignConfig, ["--config", str(path), *prompts], "")


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_loads(path: Path) -> None:
    load_config(SweepConfig, ["--config", str(path)], "")


def test_a_bad_point_of_a_sweep_ends_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        load_config(SweepConfig, ["space={optimizer.lr: [1e-3, -1]}"], "")
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip()
    assert "space.optimizer.lr" in error
    assert "got -1, allowed: float > 0" in error
    assert "\n" not in error


def test_the_papers_values_are_in_the_papers_configs() -> None:
    for name in ("pythia-1.4b", "pythia-2.8b", "llama2-7b", "llama2-13b"):
        path = next(path for path in CONFIGS if path.stem == name)
        config = load_config(RunConfig, ["--config", str(path)], "")
        assert (config.optimizer.lr, config.train.pairs_per_source, config.train.epochs) == (
            1e-6,
            16,
            1,
        )
        assert (config.data.max_pairs, len(config.data.sources)) == (40_000, 5)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("train.eval_every=3", "train.eval_every: a multiple of train.accumulation is allowed"),
        ("train.offload=true", "train.offload: needs train.zero_stage 1, 2 or 3"),
        ("train.min_workers=2", "train.min_workers: at most train.workers is allowed"),
        (
            "objective.scheme=fixed",
            "objective.weights is given exactly when objective.scheme=fixed",
        ),
        ("objective.scheme=mor", "objective.scheme: got 'mor', allowed: more | uniform"),
        (
            "data.simulator.noise=[1, 3]",
            "data.simulator.noise: got 2 values, allowed: one for all, or 5 "
            "(data.simulator.sources)",
        ),
        (
            "data.simulator.noise=[1, 1, 1, 1, 0]",
            "data.simulator.noise: got [1, 1, 1, 1, 0], allowed: float > 0 or list[float > 0]",
        ),
        (
            "data.simulator.noise=[1, 1, 1, 1, .inf]",
            "data.simulator.noise: got [1, 1, 1, 1, inf], allowed: finite float > 0 or "
            "list[float > 0]",
        ),
        ("data.simulator.noise=0", "data.simulator.noise: got 0, allowed: float > 0 or list["),
        (
            "data.simulator.drift=[0, 0, 0, 0, -1]",
            "data.simulator.drift: got [0, 0, 0, 0, -1], allowed: float >= 0 or list[float >= 0]",
        ),
        (
            "data.simulator.pairs=[9, 9, 9, 9, 1]",
            "data.simulator.pairs: got [9, 9, 9, 9, 1], allowed: int >= 2 or list[int >= 2]",
        ),
        (
            "data.simulator.test_pairs=[9]",
            "data.simulator.test_pairs: got 1 values, allowed: one for all, or 5",
        ),
        (
            "objective={labels: soft, margin: true}",
            "objective.margin: cannot be used with objective",
        ),
        (
            "objective={labels: soft, loss: sft, scheme: uniform}",
            "objective.labels: objective.loss=sft has no labels; allowed: hard",
        ),
        ("optimizer.betas=[0.9, 1]", "optimizer.betas: got [0.9, 1], allowed: tuple[float >= 0, <"),
        ("optimizer.betas=[2, -1]", "optimizer.betas: got [2, -1], allowed: tuple[float >= 0, < 1"),
        ("model.output=[]", "got [], allowed: int >= 0 or list[float] of length >= 1 or null"),
        ("data.simulator.votes=-1", "data.simulator.votes: got -1, allowed: int >= 0"),
        (
            "data.columns.a.promt=x",
            "data.columns: got {'a': {'promt': 'x'}}, allowed: dict[str, dict[",
        ),
        (
            "data.columns.a.prompt=[x, y]",
            "data.columns.a.prompt: got ['x', 'y'], allowed: one path",
        ),
        (
            "data.columns.a={answers: x}",
            "data.columns.a: answers need one of label, scores, ranks, votes, strength",
        ),
        (
            "data.columns.a={chosen: x, label: y}",
            "data.columns.a: label with chosen needs rejected, too",
        ),
        (
            "data.columns.a={label: x, scores: y}",
            "data.columns.a: got label, scores, allowed: one of them, or scores and votes",
        ),
        (
            "data.columns.a={answers: x, label: y, chosen: z}",
            "data.columns.a: either answers, or chosen and rejected, are allowed",
        ),
        ("data.pairs_per_prompt=0", "data.pairs_per_prompt: got 0, allowed: int >= 1 or null"),
        ("data.test_pairs=1", "data.test_pairs: got 1, allowed: int >= 2 or null"),
        (
            "train.seed=4294967296",
            "train.seed: got 4294967296, allowed: int >= 0, <= 4294967295",
        ),
        ("train.worker=2", "train.worker: unknown key, nearest known key: train.workers"),
    ],
)
def test_bad_values_end_in_one_line(
    argument: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        load_config(RunConfig, ["train.accumulation=2", argument], "")
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_a_simulator_takes_one_value_for_all_or_one_for_each() -> None:
    """What is written of one for all was recorded when there was nothing else."""
    scalars = {"sources": 3, "pairs": 96, "test_pairs": 60, "drift": 2, "noise": 3, "seed": 5}
    text = "sources: 3\npairs: 96\ntest_pairs: 60\ndrift: 2.0\nnoise: 3.0\nseed: 5\nvotes: 0\n"
    assert dump(SimulatorConfig.model_validate(scalars)) == text
    given = ("sources=3", "pairs=[50, 100, 2000]", "noise=[1,1,3]")
    config = load_config(RunConfig, [f"data.simulator.{one}" for one in given], "")
    simulator = config.data.simulator
    assert (simulator.pairs, simulator.noise) == ([50, 100, 2000], [1.0, 1.0, 3.0])
    assert (simulator.test_pairs, simulator.drift) == (500, 0.8)
    assert read(RunConfig, dump(config)) == config


@pytest.mark.parametrize("kind", [RunConfig, PairsRunConfig, FineTuneConfig])
def test_work_goes_on_in_its_own_folder(kind: type[RunConfig], tmp_path: Path) -> None:
    begun = kind(output_dir=str(tmp_path))
    path = tmp_path / "config.yaml"
    path.write_text(dump(begun))
    check_same(str(path), "a run", begun, RunConfig)
    check_same(str(path), "a run", begun.changed(train=begun.train.changed(workers=7)), RunConfig)
    other = begun.changed(train=begun.train.changed(seed=7))
    with pytest.raises(UserError, match=r"holds a run with train\.seed=0, not 7"):
        check_same(str(path), "a run", other, RunConfig)


def test_a_folder_of_another_verb_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump(RunConfig()))
    said = f"output_dir: {tmp_path} holds something else than a calibration"
    with pytest.raises(UserError, match=said) as error:
        check_same(str(path), "a calibration", CalibrationConfig())
    assert "\n" not in str(error.value)


def test_every_seed_is_one_that_torch_and_numpy_take() -> None:
    limits = {
        allowed(field)
        for kind, _ in VERBS.values()
        for key, field, _ in walk(kind)
        if key.endswith("seed")
    }
    assert limits == {"int >= 0, <= 4294967295"}


def test_a_lam_of_each_rank_needs_the_same_workers(tmp_path: Path) -> None:
    begun = RunConfig.model_validate({"objective": {"scope": "rank"}, "train": {"workers": 2}})
    path = tmp_path / "config.yaml"
    path.write_text(dump(begun))
    other = begun.changed(train=begun.train.changed(workers=3))
    with pytest.raises(UserError, match=r"holds a run with train\.workers=2, not 3"):
        check_same(str(path), "a run", other)
