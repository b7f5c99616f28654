"""The table of a sweep, its best configuration and its figures."""

from __future__ import annotations

import html
import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from more_ray.config import RunConfig
from more_ray.config.base import dump, read
from more_ray.config.sweep import SweepConfig
from more_ray.errors import UserError
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import summarise
from more_ray.report.sweep_figures import against, ece_versus_k, make_figures, pareto
from more_ray.report.sweep_page import write_results
from more_ray.report.sweep_verdict import verdict
from more_ray.sweep.analysis import best_trial, ranking, read_sweep
from more_ray.sweep.space import Point, points
from more_ray.sweep.trial import configure, describe, trial_folder

SOURCES = 3


def scores(seed: int, sharpness: float) -> dict[str, SourceScores]:
    """A model that is `sharpness` times too sure."""
    rng = np.random.default_rng(seed)
    result = {}
    for number in range(1, SOURCES + 1):
        truth_N = rng.normal(size=200)
        right_N = rng.random(200) < 1 / (1 + np.exp(-np.abs(truth_N)))
        delta_N = sharpness * np.where(right_N, 1, -1) * np.abs(truth_N)
        length_N = np.arange(200) + 1
        result[f"population_{number}"] = SourceScores(
            *(np.arange(200), delta_N, np.zeros(200), length_N, length_N)
        )
    return result


@cache
def evaluation(seed: int, sharpness: float) -> dict[str, Any]:
    return summarise(scores(seed, sharpness), "more", 9, seed=0, resamples=100)


def finish(config: SweepConfig, point: Point) -> None:
    """What a trial leaves; the larger the learning rate, the more it over-rewards."""
    folder = Path(trial_folder(config, point))
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    run = configure(config, point, threads=2)
    (folder / "config.yaml").write_text(dump(run))
    (folder / "trial.json").write_text(json.dumps(describe(point, run)))
    made = evaluation(point["train.seed"], 1 + 1_000 * point["optimizer.lr"])
    (folder / "eval.json").write_text(json.dumps(made))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SweepConfig:
    """A sweep whose trials have all ended but the last one."""
    values: dict[str, Any] = {
        "output_dir": str(tmp_path_factory.mktemp("sweep")),
        "sources": "chain",
        "singles": True,
        "space": {"optimizer.lr": [1e-4, 1e-2], "train.seed": [0, 1]},
        "run": {"output_dir": "outputs/best", "data": {"simulator": {"sources": SOURCES}}},
    }
    made = SweepConfig.model_validate(values)
    for point in points(made)[:-1]:
        finish(made, point)
    return made


@pytest.fixture(scope="module")
def table(config: SweepConfig) -> pd.DataFrame:
    return read_sweep(config.output_dir)


def test_a_row_a_trial_and_source(config: SweepConfig, table: pd.DataFrame) -> None:
    assert table["trial"].nunique() == len(points(config)) - 1 == 19
    assert len(table) == 19 * (SOURCES + 1)
    row = table[(table["trained_on"] == "population_1+population_2") & (table["lr"] == 1e-2)]
    first = row[(row["seed"] == 1) & (row["source"] == "population_3")].iloc[0]
    assert (first["K"], first["scheme"], first["own"], first["n"]) == (2, "more", False, 200)
    assert first["ece_low"] <= first["ece_high"]


def test_the_best_configuration_is_the_mean_of_its_seeds(table: pd.DataFrame) -> None:
    ranked = ranking(table)
    assert set(ranked["lr"].head(5)) == {1e-4}
    means = table[(table["source"] == "mean") & (table["lr"] == 1e-4) & (table["K"] == 3)]
    row = ranked[(ranked["lr"] == 1e-4) & (ranked["K"] == 3)].iloc[0]
    assert row["seeds"] == 2
    assert row["ece"] == pytest.approx(means["ece"].mean())
    best = table[table["trial"] == best_trial(table)].iloc[0]
    assert (best["lr"], best["seed"]) == (1e-4, 0)
    assert best["K"] > 1


def test_trials_that_were_stopped_early_are_not_ranked(tmp_path: Path) -> None:
    """They have hardly learnt, and are hardly ever sure of anything."""
    values: dict[str, Any] = {
        "output_dir": str(tmp_path),
        "space": {"optimizer.lr": [1e-4, 1e-2], "train.seed": [0]},
        "run": {"data": {"simulator": {"sources": SOURCES}}},
    }
    config = SweepConfig.model_validate(values)
    calibrated, sure = points(config)
    for point in (calibrated, sure):
        finish(config, point)
    assert ranking(read_sweep(str(tmp_path)))["lr"].tolist() == [1e-4, 1e-2]
    stopped = Path(trial_folder(config, calibrated))
    (stopped / "stopped.json").write_text("{}")
    table = read_sweep(str(tmp_path))
    assert table.groupby("lr")["stopped"].first().tolist() == [True, False]
    assert ranking(table)["lr"].tolist() == [1e-2]
    assert best_trial(table) == Path(trial_folder(config, sure)).name
    write_results(config, {})
    assert "1 of the trials were stopped early" in (tmp_path / "report.html").read_text()
    assert len(pd.read_csv(tmp_path / "trials.csv")["trial"].unique()) == 2
    moved = tmp_path.parent / "moved"
    shutil.copytree(tmp_path, moved)
    shutil.rmtree(stopped)  # where the trials say that they are
    assert read_sweep(str(moved)).groupby("lr")["stopped"].first().tolist() == [True, False]
    shutil.copytree(moved / "trials" / stopped.name, stopped)
    (Path(trial_folder(config, sure)) / "stopped.json").write_text("{}")
    assert len(ranking(read_sweep(str(tmp_path)))) == 2


def test_by_accuracy_the_most_accurate_is_first_and_its_trial_is_the_best(
    table: pd.DataFrame,
) -> None:
    for metric, ascending in (("accuracy", False), ("ece", True), ("nll", True)):
        ranked = ranking(table, metric)
        assert ranked[metric].tolist() == sorted(ranked[metric], reverse=not ascending)
        mixtures = ranked[ranked["K"] > 1].iloc[0]
        best = table[table["trial"] == best_trial(table, metric)].iloc[0]
        for key in ("lr", "K", "trained_on"):
            assert best[key] == mixtures[key]


def test_top_is_the_mean_of_the_best_model_of_each_source(table: pd.DataFrame) -> None:
    alone = table[(table["K"] == 1) & table["own"] & (table["source"] != "mean")]
    best = alone.groupby(["source", "lr"])["ece"].mean().groupby("source").min()
    with pytest.MonkeyPatch.context() as patch:
        drawn: list[float] = []
        patch.setattr(Axes, "axhline", lambda self, y, **style: drawn.append(y))
        ece_versus_k(table)
    assert drawn[0] == pytest.approx(best[["population_1", "population_2"]].mean())
    assert drawn[1:] == pytest.approx(best.tolist())


def test_the_figure_of_the_paper_has_the_numbers_of_the_table(table: pd.DataFrame) -> None:
    figure = ece_versus_k(table)
    means = [row for row in figure.rows if row["panel"] == "mean of population_1, population_2"]
    assert [(row["line"], row["K"]) for row in means] == [
        *(("lr=0.0001", 2), ("lr=0.0001", 3), ("lr=0.01", 2), ("lr=0.01", 3))
    ]
    wanted = table[
        (table["K"] == 2) & (table["lr"] == 1e-4) & table["own"] & (table["source"] != "mean")
    ]
    assert means[0]["mean"] == pytest.approx(wanted["ece"].mean())
    assert means[0]["from"] < means[0]["mean"] < means[0]["to"]
    assert all(0 <= row["from"] <= row["to"] <= 1 for row in figure.rows)
    third = [row for row in figure.rows if row["panel"] == "population_3"]
    assert {row["K"] for row in third} == {3}
    assert "<svg" in figure._repr_html_()


def test_both_measures_against_a_setting_have_their_numbers(table: pd.DataFrame) -> None:
    means = table[(table["source"] == "mean") & (table["K"] == 2) & (table["lr"] == 1e-4)]
    rows = [row for row in against(table, "lr").rows if (row["line"], row["lr"]) == ("K=2", 1e-4)]
    assert {row["panel"]: row["mean"] for row in rows} == {
        name: pytest.approx(means[key].mean())
        for key, name in (("accuracy", "accuracy"), ("ece", "ECE"))
    }


def test_the_table_of_configurations_is_written_for_people(table: pd.DataFrame) -> None:
    row = pareto(table).rows[0]
    assert (row["trained_on"], row["lr"], row["scheme"]) == (
        *("population_1, population_2, population_3", "0.01", "MORE"),
    )
    assert {"ECE", "floor", "NLL"} < row.keys()


def test_no_configuration_beats_one_on_the_front(table: pd.DataFrame) -> None:
    found = ranking(table, "accuracy")
    front = int(pareto(table).text.split("seeds; ")[1].split()[0])
    beaten = [
        ((found["accuracy"] > one["accuracy"]) & (found["ece"] < one["ece"])).any()
        for _, one in found.iterrows()
    ]
    assert 1 <= front <= len(found) - sum(beaten)


def test_the_results_of_a_sweep(config: SweepConfig, table: pd.DataFrame) -> None:
    ranked = write_results(config, {"lr=1": "ModelError: <broken>"})
    folder = Path(config.output_dir)
    assert len(ranked) == 10
    assert len(pd.read_csv(folder / "trials.csv")) == len(table)
    best = (folder / "best.yaml").read_text()
    assert "lr: 0.0001" in best
    assert "output_dir: outputs/best" in best
    assert "threads: null" in best
    page = (folder / "report.html").read_text()
    assert len(list(make_figures(table))) == page.count("<figure ") == 3
    assert "ModelError: &lt;broken&gt;" in page
    shown = html.unescape(
        re.search(r"<h2>The best configuration</h2>.*?<pre>(.*?)</pre>", page, re.S)[1]
    )
    assert "threads" not in shown
    assert read(RunConfig, shown) == read(RunConfig, best)
    assert "<h1>A sweep over sources and lr</h1>" in page


def test_the_verdict_names_no_winner_that_is_not_shown(
    config: SweepConfig, table: pd.DataFrame
) -> None:
    """Mixtures of two and of three sources, and models of one, have the same scores here."""
    best = ranking(table).iloc[0]
    ends = table[(table["source"] == "mean") & (table["lr"] == 1e-4)]
    low, high = ends["ece_low"].mean(), ends["ece_high"].mean()
    found = verdict(config, table, {"lr=1": "broken"})
    assert found["Result"] == (
        "In 19 trials of 10 configurations the mixture with the lowest ECE is the one trained on "
        f"population_1 and population_2 with lr 0.0001: {best['ece']:.3f} ({low:.3f} to "
        f"{high:.3f}), where a perfect model would show {best['ece_noise_floor']:.3f} by chance. "
        "It is not shown to be the best: the intervals of 4 of the other 9 overlap its own, or "
        "are better."
    )
    assert found["Watch"] == "Trials that failed: 1."
    assert found["Next"].startswith("Take the simplest that is not told apart from it")


def test_a_winner_that_is_shown(config: SweepConfig, table: pd.DataFrame) -> None:
    alone = table[(table["K"] == 2) & (table["trained_on"] == "population_1+population_2")]
    found = verdict(config, alone, {})
    assert "It is shown to be the best: no other's interval overlaps its own." in found["Result"]
    assert "Watch" not in found
    assert found["Next"] == "Train it (more-ray train --config best.yaml)."
    by_loss = verdict(config.changed(metric="nll"), alone, {})
    assert by_loss["Result"].endswith("whether it is the best is not shown.")
    assert by_loss["Next"].startswith("Take the simplest")


def test_a_folder_without_trials(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trial of a sweep that ended"):
        read_sweep(str(tmp_path))
