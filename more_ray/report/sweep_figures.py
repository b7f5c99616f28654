"""The figures of a sweep, from the table of its trials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pandas.api.types import is_numeric_dtype

from more_ray.metrics.intervals import student
from more_ray.metrics.measures import drawn, ranked
from more_ray.metrics.shown_names import shown_name
from more_ray.report.drawing import (
    INK,
    LINE,
    Figure,
    Rows,
    colour,
    legend,
    marker,
    no_closer,
    panels,
    svg,
)
from more_ray.sweep.analysis import at_their_end, ranking, settings

SPAN = 0.02
"""The least that an axis of accuracy or ECE shows: differences below are of no use to anybody."""


def make_figures(table: pd.DataFrame) -> Iterator[Figure]:
    """All figures that the sweep has data for."""
    if table[table["K"] > 1]["K"].nunique() > 1:
        yield ece_versus_k(table)
    for key in settings(table):
        if key != "K" and is_numeric_dtype(table[key]) and table[key].nunique() > 1:
            yield against(table, key)
    yield pareto(table)


def ece_versus_k(table: pd.DataFrame) -> Figure:
    """ECE against the number of sources trained on (the paper's Figure 6).

    A panel per source, over the trials that were trained on it, and a panel for the mean over the
    sources that all mixtures share. Bars are 95% intervals over seeds, or over test pairs where
    there is a single seed; Top is the best of the models trained on that source alone.
    """
    table, numbers = _with_lines(at_their_end(table), "K")
    mixed = table[(table["K"] > 1) & table["own"] & (table["source"] != "mean")]
    alone = table[(table["K"] == 1) & table["own"] & (table["source"] != "mean")]
    sources = [name for name in table["source"].unique() if name in set(mixed["source"])]
    trials = mixed["trial"].nunique()
    common = [name for name in sources if (mixed["source"] == name).sum() == trials]
    shared = mixed[mixed["source"].isin(common)]
    parts = {f"mean of {', '.join(common)}": _mean_of_sources(shared)} if common else {}
    parts |= {name: mixed[mixed["source"] == name] for name in sources}
    rows: Rows = []
    height = 0.6 + 1.3 * len(parts)
    with panels(height, len(parts), sharex=True, sharey=True) as (canvas, all_axes):
        for axes, (title, part) in zip(all_axes, parts.items(), strict=True):
            floor = part.groupby("K")["ece_noise_floor"].mean()
            axes.fill_between(floor.index, 0, floor, color=LINE, alpha=0.5, label="noise floor")
            top = alone[alone["source"].isin(common if title not in sources else [title])]
            if len(top):
                best = top.groupby(["source", "line"])["ece"].mean().groupby("source").min()
                axes.axhline(best.mean(), color=INK, linestyle="--", linewidth=1, label="Top")
            rows += _lines(axes, part, "K", "ece", title, numbers)
            axes.set_title(title)
            axes.set_ylabel("ECE")
            axes.set_ylim(bottom=0)
        all_axes[-1].set_xticks(sorted(mixed["K"].unique()))
        all_axes[-1].set_xlabel("K, sources trained on")
        legend(canvas, all_axes[0])
    first = rows[: sum(row["panel"] == rows[0]["panel"] for row in rows)]
    low, high = (ends(first, key=lambda row: row["mean"]) for ends in (min, max))
    text = (
        f"ECE against the number of sources, {len(parts)} panels. {low['panel']}: lowest "
        f"{low['mean']:.3f} (K = {low['K']}), highest {high['mean']:.3f} (K = {high['K']})."
    )
    return Figure("ECE versus K", svg(canvas, text), text, rows)


def _mean_of_sources(part: pd.DataFrame) -> pd.DataFrame:
    """A row per trial. The ends of intervals are averaged too, which makes them no narrower."""
    keys = [*settings(part), "trial", "seed", "line"]
    return part.groupby(keys, as_index=False, dropna=False).mean(numeric_only=True)


def against(table: pd.DataFrame, key: str) -> Figure:
    """Accuracy and ECE, means over all sources, against one swept number."""
    means, numbers = _with_lines(table[table["source"] == "mean"], key)
    values = sorted(means[key].unique())
    rows: Rows = []
    with panels(2.3 * len(drawn()), len(drawn()), sharex=True) as (canvas, all_axes):
        for axes, measure in zip(all_axes, drawn(), strict=True):
            rows += _lines(axes, means, key, measure.key, measure.name, numbers)
            axes.set_ylabel(measure.name)
            axes.grid(axis="y")
        if values[0] > 0 and values[-1] / values[0] >= 4:
            all_axes[0].set_xscale("log")
            all_axes[0].set_xticks([], minor=True)
        all_axes[0].set_xticks(values, [f"{value:g}" for value in values])
        all_axes[-1].set_xlabel(key)
        legend(canvas, all_axes[0])
    by_value = means.groupby(key)[["accuracy", "ece"]].mean()
    text = (
        f"Accuracy and ECE, means over all sources, against {key}. Averaged over everything else, "
        f"accuracy is best at {by_value['accuracy'].idxmax():g} and ECE at "
        f"{by_value['ece'].idxmin():g}."
    )
    return Figure(f"Accuracy and ECE against {key}", svg(canvas, text), text, rows)


def pareto(table: pd.DataFrame) -> Figure:
    """Configurations by accuracy and ECE; the line joins those that no other beats in both."""
    configurations = ranking(table, "ece").sort_values("accuracy", ascending=False, kind="stable")
    best_ece = configurations["ece"].cummin()
    front = configurations[configurations["ece"] <= best_ece]
    with panels(3.2) as (canvas, (axes,)):
        for index, (sources, part) in enumerate(configurations.groupby("K")):
            axes.plot(
                part["accuracy"], part["ece"], marker(index), color=colour(index), markersize=5,
                label=f"K = {sources}",
            )  # fmt: skip
        axes.plot(front["accuracy"], front["ece"], color=INK, linewidth=1, label="front")
        axes.set_xlabel("accuracy")
        axes.set_ylabel("ECE")
        no_closer(axes, "x", SPAN)
        no_closer(axes, "y", SPAN)
        axes.locator_params(axis="x", nbins=5)
        axes.grid()
        legend(canvas, axes)
    text = (
        f"{len(configurations)} configurations by accuracy and ECE, means over all sources and "
        f"seeds; {len(front)} on the line, which no other beats in both."
    )
    rows = [
        {
            **{key: setting_text(key, row[key]) for key in settings(table)},
            "seeds": row["seeds"],
            **{measure.name: row[measure.key] for measure in ranked()},
        }
        for row in configurations.to_dict("records")
    ]
    return Figure("Accuracy and calibration", svg(canvas, text), text, rows)


def setting_text(key: str, value: Any) -> str:
    """A setting as a table shows it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value.replace("+", ", ") if key == "trained_on" else shown_name(str(value))


def _with_lines(table: pd.DataFrame, key: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """The table with a column `line`: the settings that distinguish configurations, besides `key`.

    Combinations of the same number of sources are on one line. Returns also the number of each
    line, which gives its colour.
    """
    rest = [
        column
        for column in settings(table)
        if column not in (key, "trained_on") and table[column].nunique() > 1
    ]
    line = [
        ", ".join(
            f"{column.rpartition('.')[2]}={shown_name(str(value))}"
            for column, value in zip(rest, values, strict=True)
        )
        or "all"
        for values in table[rest].itertuples(index=False)
    ]
    return table.assign(line=line), {
        name: number for number, name in enumerate(dict.fromkeys(line))
    }


def _lines(
    axes: Axes, part: pd.DataFrame, key: str, measure: str, panel: str, numbers: dict[str, int]
) -> Rows:
    """Draw a line per configuration, with intervals; returns the numbers behind it."""
    rows: Rows = []
    for line, group in part.groupby("line", sort=False):
        points = [
            {"panel": panel, "line": line, key: x, **_interval(same_x, measure)}
            for x, same_x in group.groupby(key)
        ]
        x = [point[key] for point in points]
        low, high = ([point[end] for point in points] for end in ("from", "to"))
        ink, shape = colour(numbers[line]), marker(numbers[line])
        axes.vlines(x, low, high, color=ink, linewidth=1.2, alpha=0.6)
        axes.plot(
            x, [point["mean"] for point in points], f"{shape}-", color=ink, markersize=4,
            linewidth=1.2, label=line if len(numbers) > 1 else None,
        )  # fmt: skip
        rows += points
    return rows


def _interval(part: pd.DataFrame, measure: str) -> dict[str, float]:
    """Mean and 95% interval over seeds (Student's t), or over test pairs for one seed."""
    by_seed = part.groupby("seed")[[measure, f"{measure}_low", f"{measure}_high"]].mean()
    value, low, high = by_seed.mean()
    if len(by_seed) > 1:
        low, high = np.clip(student(by_seed[measure].to_numpy()), 0, 1)  # both measures' range
    return {"mean": float(value), "from": float(low), "to": float(high), "seeds": len(by_seed)}
