"""Sweeps on real Ray Tune whose trials follow each other: killed, stopped early, searched."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import MakeConfig, job_command, metrics, wait_for, without_cluster

from more_ray.config.base import dump
from more_ray.config.sweep import SweepConfig
from more_ray.report.sweep_page import write_results
from more_ray.sweep.analysis import read_sweep
from more_ray.sweep.run import run_sweep
from more_ray.sweep.space import points
from more_ray.sweep.trial import is_over, trial_folder

pytestmark = pytest.mark.integration
MakeSweep = Callable[..., SweepConfig]


@pytest.fixture
def sweep(small_config: MakeConfig, tmp_path: Path) -> MakeSweep:
    def make(run: dict[str, Any], **changes: Any) -> SweepConfig:
        base = small_config(tmp_path / "unused", **run).model_dump()
        values = {"output_dir": str(tmp_path / "sweep"), "run": base, "concurrent": 1, **changes}
        return SweepConfig.model_validate(values)

    return make


def test_a_killed_sweep_goes_on(sweep: MakeSweep, tmp_path: Path) -> None:
    """The whole job is killed after its first trial; the same command does the others only."""
    config = sweep(space={"train.seed": [0, 1, 2]}, run={"train": {"max_steps": 4}})
    file = tmp_path / "sweep.yaml"
    file.write_text(dump(config))
    command = job_command("sweep", "--config", str(file))
    folders = [trial_folder(config, point) for point in points(config)]

    job = subprocess.Popen(command, env=without_cluster(), start_new_session=True)
    try:
        wait_for(lambda: any(map(is_over, folders)), 180, "trial that ended")
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    first = [folder for folder in folders if is_over(folder)]
    assert len(first) < len(folders)
    made = {folder: (Path(folder) / "model" / "config.json").stat().st_mtime for folder in first}

    shown = subprocess.run(
        command, env=without_cluster(), check=True, timeout=400, capture_output=True, text=True
    ).stdout
    assert all(map(is_over, folders))
    for folder, when in made.items():
        assert (Path(folder) / "model" / "config.json").stat().st_mtime == when
    results = pd.read_csv(Path(config.output_dir) / "trials.csv")
    assert results["trial"].nunique() == len(folders) == 3
    assert "figures in report.html" in shown
    for folder in folders:
        assert [line["step"] for line in metrics(Path(folder))] == [0, 1, 2, 3]


def test_bad_trials_are_stopped_early_and_stay_so(cluster: None, sweep: MakeSweep) -> None:
    """Learning rates that learn nothing end at their first evaluation, one that learns does not."""
    config = sweep(
        space={"optimizer.lr": [3e-3, 1e-8, 1e-9]},
        run={"train": {"max_steps": 6, "eval_every": 2, "checkpoint_every": 2}},
        metric="nll",
        early_stopping=True,
    )
    assert not run_sweep(config)
    steps = read_sweep(config.output_dir).groupby("lr")["step"].first()
    assert steps[3e-3] == 6
    assert min(steps) == 2
    assert not run_sweep(config)
    again = read_sweep(config.output_dir).groupby("lr")["step"].first()
    assert again.to_dict() == steps.to_dict()


def test_optuna_goes_on_from_what_it_has_seen(cluster: None, sweep: MakeSweep) -> None:
    config = sweep(
        search="optuna",
        trials=1,
        space={"optimizer.lr": {"low": 1e-5, "high": 1e-3, "log": True}},
        sources="chain",
        run={"train": {"max_steps": 1}},
    )
    assert not run_sweep(config)
    before = set(read_sweep(config.output_dir)["trial"])
    assert len(before) == 1
    more = config.changed(trials=2)
    assert not run_sweep(more)
    after = read_sweep(config.output_dir)
    assert len(set(after["trial"])) == 2
    assert before < set(after["trial"])
    assert len(write_results(more, {})) == 2
