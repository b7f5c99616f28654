"""The results of a sweep: a tidy table of its trials, and the best of them.

    from more_ray.sweep.analysis import read_sweep
    from more_ray.report.sweep_figures import ece_versus_k
    ece_versus_k(read_sweep("outputs/sweep"))

in a notebook shows the figure.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from ray import tune

from more_ray import storage
from more_ray.errors import UserError
from more_ray.metrics.measures import MEASURES, Measure, drawn, ranked, shown
from more_ray.run_folder import evaluation_of
from more_ray.sweep.trial import DESCRIPTION, is_over, was_stopped

KNOWN_KEYS = ("data.train_on", "objective.scheme", "optimizer.lr", "train.seed")
"""Swept keys that have a column by a shorter name."""
ENDS = ("low", "high")
"""Suffixes of the columns with the ends of intervals, for the measures that figures show."""


def read_sweep(sweep: str | tune.ResultGrid | tune.ExperimentAnalysis) -> pd.DataFrame:
    """The finished trials of a sweep: a row per trial and source, and a row for the mean.

    Columns: `trial`, `K`, `trained_on`, `scheme`, `lr`, `seed`, every other swept key; `source` (or
    `mean`), `own` (whether the trial was trained on that source), `stopped` (whether early stopping
    ended it); the measures of `eval.json`, with `_low` and `_high` for 95% intervals.

    Args:
        sweep: the folder of a sweep (a path or URI), or what Tune itself returned or read.

    Raises:
        UserError: no trial has finished.
    """
    if isinstance(sweep, str):
        trials = _from_folder(sweep)
    elif isinstance(sweep, tune.ResultGrid):
        trials = [result.metrics for result in sweep if result.metrics and not result.error]
    else:
        trials = [trial.last_result for trial in sweep.trials if trial.status == trial.TERMINATED]
    described = [trial for trial in trials if "trial" in trial and "mean" in trial]
    if not described:
        raise UserError(f"output_dir: {sweep} holds no trial of a sweep that ended")
    return pd.DataFrame([row for trial in described for row in _rows(trial)])


def _from_folder(folder: str) -> list[dict[str, Any]]:
    return [
        {
            **evaluation_of(trial),
            "trial": storage.read_json(storage.join(trial, DESCRIPTION)),
            "stopped": was_stopped(trial),  # also where the sweep has been moved
        }
        for trial in storage.folders(storage.join(folder, "trials"))
        if is_over(trial)
    ]


def _rows(trial: dict[str, Any]) -> list[dict[str, Any]]:
    described = trial["trial"]
    trained_on = described["trained_on"]
    settings = {
        "trial": described["output_dir"].rsplit("/", 1)[-1],
        "K": len(trained_on),
        "trained_on": "+".join(trained_on),
        **{key: described[key] for key in ("scheme", "lr", "seed")},
        **{
            key: value if isinstance(value, str | int | float) else json.dumps(value)
            for key, value in described["values"].items()
            if key not in KNOWN_KEYS
        },
        "step": trial["step"],
        "stopped": trial.get("stopped") or was_stopped(described["output_dir"]),
    }
    return [
        {
            **settings,
            "source": source,
            "own": source == "mean" or source in trained_on,
            "n": measures["n"],
            # Trials of earlier versions lack some measures.
            **{row.key: measures.get(row.key) for row in _measured()},
            **{
                f"{row.key}_{end}": value
                for row in drawn()
                for end, value in zip(ENDS, measures[f"{row.key}_ci"], strict=True)
            },
        }
        for source, measures in [*trial["sources"].items(), ("mean", trial["mean"])]
    ]


def _measured() -> list[Measure]:
    """The measures in a table of trials: those that trials on any data have."""
    return [row for row in shown() if not row.needs_truth]


def settings(table: pd.DataFrame) -> list[str]:
    """The columns that distinguish configurations, apart from the seed."""
    others = {
        "trial",
        "seed",
        "source",
        "own",
        "step",
        "stopped",
        "n",
        *(row.key for row in _measured()),
    }
    others |= {f"{row.key}_{end}" for row in drawn() for end in ENDS}
    return [column for column in table.columns if column not in others]


def at_their_end(table: pd.DataFrame) -> pd.DataFrame:
    """The trials that early stopping did not end, or all where there are no others: a model that
    has hardly learnt has a low ECE."""
    ended = table[~table["stopped"].astype(bool)]
    return ended if len(ended) else table


def ranking(table: pd.DataFrame, metric: str = "ece") -> pd.DataFrame:
    """Configurations, best first: means over seeds of the measures' means over sources."""
    table = at_their_end(table)
    means = table[table["source"] == "mean"]
    grouped = means.groupby(settings(table), as_index=False, dropna=False)
    result = grouped.agg(
        seeds=("seed", "nunique"),
        **{row.key: (row.key, "mean") for row in ranked()},
    )
    return result.sort_values(metric, ascending=MEASURES[metric].better == "min", ignore_index=True)


def mixed(table: pd.DataFrame) -> pd.DataFrame:
    """The trials on more than one source, or all trials where there are none."""
    mixtures = table[table["K"] > 1]
    return mixtures if len(mixtures) else table


def best_trial(table: pd.DataFrame, metric: str = "ece") -> str:
    """The first seed's trial of the best mixture."""
    mixtures = mixed(at_their_end(table))
    keys = settings(mixtures)
    first = ranking(mixtures, metric).iloc[0]
    trials = mixtures[(mixtures[keys] == first[keys]).all(axis=1)]
    return str(trials.sort_values("seed").iloc[0]["trial"])
