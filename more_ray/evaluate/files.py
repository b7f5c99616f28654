"""The Parquet files of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from more_ray import storage
from more_ray.metrics.perplexity import Likelihoods
from more_ray.metrics.scores import SourceScores
from more_ray.parquet import read_table, write_table
from more_ray.run_folder import LIKELIHOODS, SCORES


def scores_table(scores: Mapping[str, SourceScores]) -> pa.Table:
    """The table of `scores.parquet`, a row per test pair."""
    return pa.concat_tables(
        pa.table(
            {
                "source": pa.array([name] * len(source.pair_N), pa.string()),
                "pair": pa.array(source.pair_N, pa.int64()),
                "chosen": pa.array(source.chosen_N, pa.float32()),
                "rejected": pa.array(source.rejected_N, pa.float32()),
                "chosen_characters": pa.array(source.chosen_length_N, pa.int32()),
                "rejected_characters": pa.array(source.rejected_length_N, pa.int32()),
                "probability": _or_nulls(source.probability_N, pa.float32(), source),
                "subset": _or_nulls(source.subset_N, pa.string(), source),
                "share": _or_nulls(source.share_N, pa.float32(), source),
                "weight": _or_nulls(source.weight_N, pa.float32(), source),
            }
        )
        for name, source in scores.items()
    )


def _or_nulls(
    value_N: NDArray[np.generic] | None, kind: pa.DataType, source: SourceScores
) -> pa.Array:
    return pa.nulls(len(source.pair_N), kind) if value_N is None else pa.array(value_N, kind)


def scores_by_source(table: pa.Table) -> dict[str, SourceScores]:
    """The inverse of `scores_table`; sources in the order of their first rows."""
    scores = {}
    for name in table["source"].unique().to_pylist():
        rows = table.filter(pc.equal(table["source"], name))
        probability = rows["probability"]
        scores[name] = SourceScores(
            *(
                rows[column].to_numpy()
                for column in (
                    *("pair", "chosen", "rejected"),
                    *("chosen_characters", "rejected_characters"),
                )
            ),
            None if probability.null_count else probability.to_numpy(),
            subsets_of(rows),
            label_of(rows, "share"),
            label_of(rows, "weight"),
        )
    return scores


def subsets_of(rows: pa.Table) -> NDArray[np.object_] | None:
    """The column `subset`; None where the column is missing or empty."""
    return rows["subset"].to_numpy() if _has(rows, "subset") else None


def label_of(rows: pa.Table, name: str) -> NDArray[np.float32] | None:
    """Shares or weights, 1 where a pair has none; None where the column is missing or empty."""
    return rows[name].fill_null(1).to_numpy() if _has(rows, name) else None


def _has(rows: pa.Table, name: str) -> bool:
    return name in rows.column_names and rows[name].null_count < len(rows)


def write_scores(scores: Mapping[str, SourceScores], folder: str) -> None:
    """Write `scores.parquet` to a folder (a path or URI), which is created if missing."""
    write_table(storage.join(folder, SCORES), scores_table(scores))


def read_scores(folder: str) -> dict[str, SourceScores]:
    """The inverse of `write_scores`.

    Raises:
        FileNotFoundError: the folder holds no such file.
        KeyError: the file lacks a column.
    """
    return scores_by_source(read_table(storage.join(folder, SCORES)))


def write_likelihoods(likelihoods: Mapping[str, Likelihoods], folder: str) -> None:
    """Write `likelihoods.parquet`, a row per answer, to a folder, which is created if missing."""
    table = pa.concat_tables(
        pa.table(
            {
                "source": pa.array([name] * len(source.pair_N), pa.string()),
                "pair": pa.array(source.pair_N, pa.int64()),
                "nll": pa.array(source.nll_N, pa.float32()),
                "tokens": pa.array(source.tokens_N, pa.int32()),
            }
        )
        for name, source in likelihoods.items()
    )
    write_table(storage.join(folder, LIKELIHOODS), table)
