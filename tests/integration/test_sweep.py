"""Sweeps on real Ray Tune: side by side, killed, stopped early, searched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray import tune

from more_ray.cli import dump_config
from more_ray.config import RunConfig
from more_ray.sweep.analysis import read_sweep
from more_ray.sweep.config import SweepConfig
from more_ray.sweep.page import write_results
from more_ray.sweep.run import run_sweep
from more_ray.sweep.space import SweepError, points
from more_ray.sweep.trial import is_over, trial_folder

pytestmark = pytest.mark.integration
MakeSweep = Callable[..., SweepConfig]
JOB = Path(__file__).parents[2] / "jobs" / "sweep.py"


@pytest.fixture
def sweep(small_config: Callable[..., RunConfig], tmp_path: Path) -> MakeSweep:
    def make(run: dict[str, Any] | None = None, **changes: Any) -> SweepConfig:
        base = small_config(tmp_path / "unused", **(run or {})).model_dump()
        return SweepConfig.model_validate(
            {"output_dir": str(tmp_path / "sweep"), "run": base, **changes}
        )

    return make


def test_two_at_a_time_and_one_that_fails(cluster: None, sweep: MakeSweep) -> None:
    config = sweep(
        sources=[["population_1", "population_3"]],
        space={"train.pairs_per_source": [1, 8]},  # 2 pairs are too few for the workers
        run={"train": {"workers": 3, "max_steps": 2}},
        concurrent=2,
        max_failures=0,
    )
    failed = run_sweep(config)
    assert list(failed) == [
        "data.train_on=['population_1', 'population_3'], train.pairs_per_source=1"
    ]
    assert "3 workers need at least one pair each" in next(iter(failed.values()))
    table = read_sweep(config.output_dir)
    assert table["K"].unique().tolist() == [2]
    assert table[table["own"]]["source"].tolist() == ["population_1", "population_3", "mean"]

    (experiment,) = (Path(config.output_dir) / "tune").iterdir()
    by_tune = read_sweep(tune.ExperimentAnalysis(str(experiment)))
    pd.testing.assert_frame_equal(by_tune, table, check_dtype=False)


def test_a_killed_sweep_goes_on(cluster: None, sweep: MakeSweep, tmp_path: Path) -> None:
    """The whole job is killed after its first trial; the same command does the others only."""
    config = sweep(
        space={"train.seed": [0, 1], "optimizer.lr": [1e-4, 1e-3]},
        run={"train": {"max_steps": 4}},
        concurrent=1,
    )
    file = tmp_path / "sweep.yaml"
    file.write_text(dump_config(config))
    command = [sys.executable, str(JOB), "--config", str(file)]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    folders = [trial_folder(config, point) for point in points(config)]

    job = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while not any(map(is_over, folders)):
            assert time.monotonic() < deadline, "no trial ended within three minutes"
            time.sleep(0.1)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    first = [folder for folder in folders if is_over(folder)]
    assert len(first) < len(folders)
    made = {folder: (Path(folder) / "model" / "config.json").stat().st_mtime for folder in first}

    shown = subprocess.run(
        command, env=environment, check=True, timeout=400, capture_output=True, text=True
    ).stdout
    assert all(map(is_over, folders))
    for folder, when in made.items():
        assert (Path(folder) / "model" / "config.json").stat().st_mtime == when
    results = pd.read_csv(Path(config.output_dir) / "trials.csv")
    assert results["trial"].nunique() == len(folders) == 4
    assert "figures in report.html" in shown
    for folder in folders:
        steps = (Path(folder) / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in steps] == [0, 1, 2, 3]


def test_more_than_the_cluster_has_is_said_at_once(cluster: None, sweep: MakeSweep) -> None:
    message = r"concurrent: 9 at a time with train\.workers=2 need 19 CPUs; the cluster has 8"
    with pytest.raises(SweepError, match=message):
        run_sweep(sweep(run={"train": {"workers": 2}}, concurrent=9))


def test_another_sweep_in_the_same_folder(cluster: None, sweep: MakeSweep) -> None:
    config = sweep(space={"train.seed": [0]})
    Path(config.output_dir).mkdir()
    (Path(config.output_dir) / "sweep.yaml").write_text(dump_config(config))
    with pytest.raises(SweepError, match="holds a sweep with another space"):
        run_sweep(sweep(space={"train.seed": [1]}))


def test_bad_trials_are_stopped_early_and_stay_so(cluster: None, sweep: MakeSweep) -> None:
    """Learning rates that learn nothing end at their first evaluation, one that learns does not."""
    config = sweep(
        space={"optimizer.lr": [3e-3, 1e-8, 1e-9]},
        run={"train": {"max_steps": 6, "eval_every": 2, "checkpoint_every": 2}},
        metric="nll",
        early_stopping=True,
        concurrent=1,
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
        trials=2,
        space={"optimizer.lr": {"low": 1e-5, "high": 1e-3, "log": True}},
        sources="chain",
        run={"train": {"max_steps": 1}},
        concurrent=1,
    )
    assert not run_sweep(config)
    before = set(read_sweep(config.output_dir)["trial"])
    assert len(before) == 2
    more = config.model_copy(update={"trials": 3})
    assert not run_sweep(more)
    after = read_sweep(config.output_dir)
    assert len(set(after["trial"])) == 3
    assert before < set(after["trial"])
    assert len(write_results(more, {})) == 3
