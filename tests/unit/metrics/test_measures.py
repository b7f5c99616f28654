"""A new measure is a function and a row: all that reads the table knows it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from more_ray.config import SweepConfig
from more_ray.config.base import members
from more_ray.evaluate.files import write_scores
from more_ray.metrics.measures import MEASURES, Measure, compared
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import compare, mean_over_seeds, summarise
from more_ray.report.models import read_models
from more_ray.report.run_page import render_page
from more_ray.sweep.analysis import ranking, read_sweep, settings
from more_ray.terminal import calibration_table, ranking_table


def misses(delta_N: NDArray[np.float64]) -> float:
    """The share of pairs that are wrong or nearly so."""
    return float(np.mean(delta_N < 0.1))


MISSES = Measure("misses", "Misses", misses, "bootstrap", "min", compared=True)


def scores(seed: int) -> dict[str, SourceScores]:
    rng = np.random.default_rng(seed)
    length_N = np.ones(60, dtype=int)
    return {
        name: SourceScores(
            *(np.arange(60), rng.normal(0.5, 1.0, 60), np.zeros(60), length_N, length_N)
        )
        for name in ("helpful", "harmless")
    }


def evaluation(seed: int) -> dict[str, Any]:
    return summarise(scores(seed), "more", 9, seed=0, resamples=50)


def without(evaluated: dict[str, Any]) -> dict[str, Any]:
    def known(measures: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in measures.items() if "misses" not in key}

    sources = {name: known(one) for name, one in evaluated["sources"].items()}
    return {**evaluated, "sources": sources, "mean": known(evaluated["mean"])}


def shown(table: Table) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_evaluations_have_it_and_nothing_else_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = evaluation(0)
    differences = compare([scores(0)], [scores(1)], seed=0, resamples=50)
    monkeypatch.setitem(MEASURES, "misses", MISSES)
    after = evaluation(0)
    assert json.dumps(without(after)) == json.dumps(before)
    for one in [*after["sources"].values(), after["mean"]]:
        assert one["misses_ci"][0] < one["misses"] < one["misses_ci"][1]
    mean = compare([scores(0)], [scores(1)], seed=0, resamples=50)["mean"]
    expected = after["mean"]["misses"] - evaluation(1)["mean"]["misses"]
    assert mean.pop("misses")["difference"] == pytest.approx(expected)
    assert mean == differences["mean"]
    assert "misses_ci" in mean_over_seeds([after, before])["mean"]  # one is of an earlier version


def test_sweeps_tables_and_pages_have_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(MEASURES, "misses", MISSES)
    for number in range(3):
        folder = tmp_path / "trials" / str(number)
        write_scores(scores(number), str(folder))
        described = {
            **{"output_dir": str(folder), "trained_on": ["helpful", "harmless"], "values": {}},
            **{"scheme": "more", "lr": 0.1 * number, "seed": 0},
        }
        (folder / "trial.json").write_text(json.dumps(described))
        (folder / "stopped.json").write_text("{}")
        (folder / "eval.json").write_text(json.dumps(evaluation(number)))
    table = read_sweep(str(tmp_path))
    assert settings(table) == ["K", "trained_on", "scheme", "lr"]
    ranked = ranking(table, "misses")
    assert ranked["misses"].is_monotonic_increasing
    assert "Misses" in shown(ranking_table(ranked))
    assert "Misses" in shown(calibration_table(evaluation(0)))
    assert ">Misses</th>" in render_page(read_models([str(tmp_path / "trials" / "0")]))


def test_a_sweep_chooses_by_what_models_are_compared_by() -> None:
    allowed = members(SweepConfig.model_fields["metric"].annotation)[0].__args__
    assert list(allowed) == [measure.key for measure in compared()]
    assert all(measure.better for measure in compared())
