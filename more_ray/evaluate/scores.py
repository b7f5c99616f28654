"""The scores of test pairs, and the file that holds them.

Legend: N test pairs of one source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from more_ray import storage
from more_ray.run_folder import SCORES


@dataclass(frozen=True)
class SourceScores:
    """The scored test pairs of one source, arrays of shape `[N]`.

    `pair_N` names each pair by its content, the same for every model and tokenizer.
    `probability_N`, the true probability that chosen is preferred, is known for simulated data;
    `subset_N` names parts of a test set, None where a pair is in none.
    """

    pair_N: NDArray[np.integer]
    chosen_N: NDArray[np.floating]
    rejected_N: NDArray[np.floating]
    chosen_length_N: NDArray[np.integer]
    rejected_length_N: NDArray[np.integer]
    probability_N: NDArray[np.floating] | None = None
    subset_N: NDArray[np.object_] | None = None

    @property
    def delta_N(self) -> NDArray[np.float64]:
        """Chosen less rejected score."""
        return self.chosen_N.astype(np.float64) - self.rejected_N.astype(np.float64)


def scores_table(scores: Mapping[str, SourceScores]) -> pa.Table:
    """`scores.parquet`: a row a test pair."""
    return pa.concat_tables(
        pa.table(
            {
                "source": pa.array([name] * len(one.pair_N), pa.string()),
                "pair": pa.array(one.pair_N, pa.int64()),
                "chosen": pa.array(one.chosen_N, pa.float32()),
                "rejected": pa.array(one.rejected_N, pa.float32()),
                "chosen_characters": pa.array(one.chosen_length_N, pa.int32()),
                "rejected_characters": pa.array(one.rejected_length_N, pa.int32()),
                "probability": pa.nulls(len(one.pair_N), pa.float32())
                if one.probability_N is None
                else pa.array(one.probability_N, pa.float32()),
                "subset": pa.nulls(len(one.pair_N), pa.string())
                if one.subset_N is None
                else pa.array(one.subset_N, pa.string()),
            }
        )
        for name, one in scores.items()
    )


def scores_by_source(table: pa.Table) -> dict[str, SourceScores]:
    """The inverse of `scores_table`; sources in the order in which they first come."""
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
        )
    return scores


def subsets_of(rows: pa.Table) -> NDArray[np.object_] | None:
    """The column `subset`; None where there is none or no row has one."""
    if "subset" not in rows.column_names or rows["subset"].null_count == len(rows):
        return None
    return rows["subset"].to_numpy()


def write_scores(scores: Mapping[str, SourceScores], folder: str) -> None:
    """`scores.parquet` in a folder (a path or URI), which is made where it is not there."""
    filesystem, path = storage.locate(folder)
    filesystem.create_dir(path, recursive=True)
    pq.write_table(scores_table(scores), f"{path}/{SCORES}", filesystem=filesystem)


def read_scores(folder: str) -> dict[str, SourceScores]:
    """The inverse of `write_scores`.

    Raises:
        FileNotFoundError: there is no such file.
        KeyError: it lacks a column.
    """
    filesystem, path = storage.locate(storage.join(folder, SCORES))
    return scores_by_source(pq.read_table(path, filesystem=filesystem))
