"""The results of a sweep: tables, figures and the report page."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import yaml

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.config.base import dump
from more_ray.config.sweep import SweepConfig
from more_ray.environment import environment
from more_ray.metrics.measures import MEASURES
from more_ray.metrics.shown_names import shown_name
from more_ray.report.drawing import Rows, standalone
from more_ray.report.sweep_figures import make_figures, setting_text
from more_ray.report.templates import render
from more_ray.run_folder import CONFIG, REPORT
from more_ray.sweep.analysis import best_trial, mixed, ranking, read_sweep, settings


def write_results(config: SweepConfig, failed: Mapping[str, str]) -> pd.DataFrame:
    """Write `trials.csv`, `best.yaml`, `report.html` and its figures; returns the configurations,
    best first.

    Args:
        failed: trials that failed for good, and why.

    Raises:
        UserError: no trial has finished.
    """
    table = read_sweep(config.output_dir)
    best = _best(config, table)
    ranked = ranking(table, config.metric)
    storage.write_text(storage.join(config.output_dir, "trials.csv"), table.to_csv(index=False))
    storage.write_text(storage.join(config.output_dir, "best.yaml"), dump(best))
    figures = list(make_figures(table))
    for figure in figures:
        name = figure.title.lower().replace(" ", "-")
        path = storage.join(config.output_dir, "figures", f"{name}.svg")
        storage.write_text(path, standalone(figure.svg))
    columns = varied(table)
    shown = ranked[[*columns, *ranked.columns[len(settings(table)) :]]]
    page = render(
        "sweep.html.j2",
        title=f"A sweep over {', '.join(varied(table)) or 'seeds'}",
        verdict=_verdict(config, table, failed),
        ranking=[
            {**row, **{key: setting_text(key, row[key]) for key in columns}}
            for row in shown.to_dict("records")
        ],
        figures=figures,
        best=dump(best, exclude_defaults=True),
        failed=_failed_rows(failed),
        environment=environment(),
        sweep=dump(config),
    )
    storage.write_text(storage.join(config.output_dir, REPORT), page)
    return ranked


def varied(table: pd.DataFrame) -> list[str]:
    """The settings that differ between trials."""
    return [column for column in settings(table) if table[column].nunique(dropna=False) > 1]


def _best(config: SweepConfig, table: pd.DataFrame) -> RunConfig:
    """The best configuration as the config of a training run."""
    folder = storage.join(config.output_dir, "trials", best_trial(table, config.metric))
    tree = yaml.safe_load(storage.read_text(storage.join(folder, CONFIG)))
    run = RunConfig.model_validate(tree)
    train = run.train.changed(threads=config.run.train.threads)
    return run.changed(output_dir=config.run.output_dir, train=train)


def _verdict(config: SweepConfig, table: pd.DataFrame, failed: Mapping[str, str]) -> str:
    best = ranking(mixed(table), config.metric).iloc[0]
    words = ", ".join(f"{column} {shown_name(str(best[column]))}" for column in varied(table))
    name = MEASURES[config.metric].name
    floor = f" (noise floor {best['ece_noise_floor']:.3f})" if config.metric == "ece" else ""
    sentence = (
        f"In {table['trial'].nunique()} trials the best mixture by {name} is "
        f"{words or 'the only configuration'}: {name} {best[config.metric]:.3f}{floor}, "
        f"accuracy {best['accuracy']:.3f}."
    )
    return f"{sentence} Trials that failed: {len(failed)}." if failed else sentence


def _failed_rows(failed: Mapping[str, str]) -> Rows:
    return [{"trial": trial, "why": why} for trial, why in failed.items()]
