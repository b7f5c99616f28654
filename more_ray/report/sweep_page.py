"""The results of a sweep: tables, figures and the report page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import yaml

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.config.base import dump
from more_ray.config.sweep import SweepConfig
from more_ray.environment import environment
from more_ray.metrics.measures import drawn, ranked
from more_ray.metrics.shown_names import shown_name
from more_ray.metrics.written import with_interval
from more_ray.report.drawing import Rows, standalone
from more_ray.report.sweep_figures import make_figures, setting_text
from more_ray.report.sweep_verdict import ends_of, varied, verdict, with_ends
from more_ray.report.templates import render
from more_ray.report.words import explained, listed
from more_ray.run_folder import CONFIG, REPORT
from more_ray.sweep.analysis import at_their_end, best_trial, ranking, read_sweep


def write_results(config: SweepConfig, failed: Mapping[str, str]) -> pd.DataFrame:
    """Write `trials.csv`, `best.yaml`, `report.html` and its figures; returns the configurations,
    best first.

    Args:
        failed: trials that failed for good, and why.

    Raises:
        UserError: no trial has finished.
    """
    every = read_sweep(config.output_dir)
    storage.write_text(storage.join(config.output_dir, "trials.csv"), every.to_csv(index=False))
    table = at_their_end(every)
    best = _best(config, table)
    storage.write_text(storage.join(config.output_dir, "best.yaml"), dump(best))
    figures = list(make_figures(table))
    for figure in figures:
        name = figure.title.lower().replace(" ", "-")
        path = storage.join(config.output_dir, "figures", f"{name}.svg")
        storage.write_text(path, standalone(figure.svg))
    page = render(
        "sweep.html.j2",
        title=f"A sweep over {listed(_swept(varied(table))) or 'seeds'}",
        verdict=verdict(config, table, failed),
        ranking=_ranking_rows(table, config.metric),
        stopped=every["trial"].nunique() - table["trial"].nunique(),
        figures=figures,
        best=dump(best, exclude_defaults=True),
        failed=_failed_rows(failed),
        environment=environment(),
        sweep=dump(config),
        words=explained(["front", *map(shown_name, table["scheme"].unique())]),
    )
    storage.write_text(storage.join(config.output_dir, REPORT), page)
    return ranking(table, config.metric)


def _swept(columns: Sequence[str]) -> list[str]:
    """What the title names: the sources, not also their number."""
    names = [column for column in columns if column not in ("K", "trained_on")]
    return ["sources", *names] if len(names) < len(columns) else names


def _ranking_rows(table: pd.DataFrame, metric: str) -> Rows:
    """A row for each configuration, best first, with the settings that differ."""
    columns = [column for column in varied(table) if column != "K"]
    figured = {row.key for row in drawn()}
    # The NLL says as much, and the table fits a screen.
    measures = [row for row in ranked() if row.key != "brier" or metric == "brier"]
    return [
        {
            **{column.replace("_", " "): setting_text(column, row[column]) for column in columns},
            "seeds": row["seeds"],
            **{
                measure.name: with_interval(row[measure.key], ends_of(row, measure.key))
                if measure.key in figured
                else row[measure.key]
                for measure in measures
            },
        }
        for _, row in with_ends(table, metric).iterrows()
    ]


def _best(config: SweepConfig, table: pd.DataFrame) -> RunConfig:
    """The best configuration as the config of a training run."""
    folder = storage.join(config.output_dir, "trials", best_trial(table, config.metric))
    tree = yaml.safe_load(storage.read_text(storage.join(folder, CONFIG)))
    run = RunConfig.model_validate(tree)
    train = run.train.changed(threads=config.run.train.threads)
    return run.changed(output_dir=config.run.output_dir, train=train)


def _failed_rows(failed: Mapping[str, str]) -> Rows:
    return [{"trial": trial, "why": why} for trial, why in failed.items()]
