from __future__ import annotations

from pathlib import Path

import pytest
from support import REPOSITORY

from more_ray.cli import load_config
from more_ray.config import FineTuneConfig, PairsRunConfig, RunConfig
from more_ray.config.align import AlignConfig
from more_ray.config.base import dump
from more_ray.config.sweep import SweepConfig
from more_ray.errors import UserError
from more_ray.run_folder import check_same

FOLDER = REPOSITORY / "jobs" / "configs"
CHAINS = sorted(FOLDER.glob("align-*.yaml"))
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - set(CHAINS))
SWEEPS = sorted((FOLDER / "sweeps").glob("*.yaml"))


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
    assert "greater than 0" in error
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


def test_a_lam_of_each_rank_needs_the_same_workers(tmp_path: Path) -> None:
    begun = RunConfig.model_validate({"objective": {"scope": "rank"}, "train": {"workers": 2}})
    path = tmp_path / "config.yaml"
    path.write_text(dump(begun))
    other = begun.changed(train=begun.train.changed(workers=3))
    with pytest.raises(UserError, match=r"holds a run with train\.workers=2, not 3"):
        check_same(str(path), "a run", other)
