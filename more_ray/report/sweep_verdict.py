"""What the page about a sweep says first: the best mixture, and whether it is shown to be that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from more_ray.config.sweep import SweepConfig
from more_ray.metrics.measures import MEASURES, drawn
from more_ray.metrics.shown_names import shown_name
from more_ray.metrics.written import interval_text, with_interval
from more_ray.report.words import listed
from more_ray.sweep.analysis import ENDS, mixed, ranking, settings


def verdict(config: SweepConfig, table: pd.DataFrame, failed: Mapping[str, str]) -> dict[str, str]:
    """The verdict, by what it is about."""
    ranked = with_ends(table, config.metric)
    best = with_ends(mixed(table), config.metric).iloc[0]
    rivals = _rivals(ranked, best, config.metric)
    words = {
        "Result": _result(config.metric, table, ranked, best, rivals),
        "Watch": " ".join(_watched(best, failed)),
        "Next": _next(rivals),
    }
    return {about: text for about, text in words.items() if text}


def with_ends(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The configurations, best first, with the ends of intervals over test pairs: means over
    seeds."""
    means = table[table["source"] == "mean"]
    ends = [f"{row.key}_{end}" for row in drawn() for end in ENDS]
    of_each = means.groupby(settings(table), as_index=False, dropna=False)[ends].mean()
    return ranking(table, metric).merge(of_each, on=settings(table), how="left")


def ends_of(row: pd.Series, key: str) -> list[float]:
    """The interval of a measure that has a figure."""
    return [row[f"{key}_{end}"] for end in ENDS]


def varied(table: pd.DataFrame) -> list[str]:
    """The settings that differ between trials."""
    return [column for column in settings(table) if table[column].nunique(dropna=False) > 1]


def _setting_words(row: pd.Series, columns: Sequence[str]) -> str:
    """`trained on ours and theirs with lr 0.01`."""
    others = [column for column in columns if column not in ("K", "trained_on")]
    words = [f"trained on {listed(row['trained_on'].split('+'))}"]
    if others:
        words.append(listed([f"{column} {shown_name(str(row[column]))}" for column in others]))
    return " with ".join(words)


def _rivals(ranked: pd.DataFrame, best: pd.Series, metric: str) -> int | None:
    """How many other configurations are not shown to be worse: their intervals overlap the best
    one's, or lie beyond it, as of a single source; None where the table has no intervals."""
    if metric not in {row.key for row in drawn()}:
        return None
    low, high = ends_of(best, metric)
    if MEASURES[metric].better == "max":
        rivals = ranked[f"{metric}_high"] >= low
    else:
        rivals = ranked[f"{metric}_low"] <= high
    return int(rivals.sum()) - 1


def _result(
    metric: str, table: pd.DataFrame, ranked: pd.DataFrame, best: pd.Series, rivals: int | None
) -> str:
    measure = MEASURES[metric]
    ends = None if rivals is None else ends_of(best, metric)
    floor = ""
    if metric == "ece":
        floor = f", where a perfect model would show {best['ece_noise_floor']:.3f} by chance"
    text = (
        f"In {table['trial'].nunique()} trials of {len(ranked)} configurations the mixture with "
        f"the {'highest' if measure.better == 'max' else 'lowest'} {measure.name} is the one "
        f"{_setting_words(best, varied(table))}: {with_interval(best[metric], ends, to=' to ')}"
        f"{floor}."
    )
    others = len(ranked) - 1
    if not others:
        return text
    if rivals is None:
        return f"{text} The table has no intervals of it: whether it is the best is not shown."
    if rivals:
        return (
            f"{text} It is not shown to be the best: the intervals of {rivals} of the other "
            f"{others} overlap its own, or are better."
        )
    return f"{text} It is shown to be the best: no other's interval overlaps its own."


def _watched(best: pd.Series, failed: Mapping[str, str]) -> list[str]:
    sentences = []
    ends = ends_of(best, "accuracy")
    if ends[0] <= 0.5:
        sentences.append(
            f"Its accuracy, {best['accuracy']:.3f} ({interval_text(ends, to=' to ')}), is not "
            "shown to beat guessing."
        )
    if failed:
        sentences.append(f"Trials that failed: {len(failed)}.")
    return sentences


def _next(rivals: int | None) -> str:
    if rivals == 0:
        return "Train it (more-ray train --config best.yaml)."
    return (
        "Take the simplest that is not told apart from it, or sweep more seeds (train.seed) and "
        "test on more pairs. best.yaml is the one named here."
    )
