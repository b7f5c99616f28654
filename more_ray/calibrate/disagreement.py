"""What populations disagree about: how alike their drifts are, and which test pairs divide them.

Drifts are compared by what they do to real pairs. Hidden states are far from round, so two drifts
may lie close together as vectors and still move rewards differently.

Legend: N test pairs, K sources, H hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from more_ray.calibrate.pairs import Floats
from more_ray.metrics.calibration import sigmoid
from more_ray.metrics.evaluation import Drifts
from more_ray.metrics.scores import SourceScores
from more_ray.model.heads_file import Calibration, Heads


def parts_of(heads: Heads, dz_NH: Floats) -> Floats:
    """`[N, 1 + K]`: the reward differences `dz w`, then `dz d_i` of each source."""
    return dz_NH @ np.vstack([heads.shared_H, heads.drift_KH]).T


def compare_drifts(names: Sequence[str], part_NK: Floats) -> Drifts:
    """How alike drifts are, and how large, on pairs of whatever sources.

    Args:
        part_NK: what `parts_of` gives, `[N, 1 + K]`.
    """
    product_KK = part_NK.T @ part_NK
    length_K = np.sqrt(np.diag(product_KK))
    cosine_KK = (product_KK / np.outer(length_K, length_K))[1:, 1:]
    return {
        "cosine": {
            name: dict(zip(names, row_K.tolist(), strict=True))
            for name, row_K in zip(names, cosine_KK, strict=True)
        },
        "size": dict(zip(names, (length_K[1:] / length_K[0]).tolist(), strict=True)),
    }


def disagreements_table(
    fitted: Calibration,
    scores: Mapping[str, SourceScores],
    part_NK: Mapping[str, Floats],
    texts: Mapping[str, pa.Table] | None = None,
) -> pa.Table:
    """The table of `disagreements.parquet`, a row per test pair, in the order of `scores.parquet`.

    `shared` and `own.NAME` are the probabilities, by the shared head and by each population's own,
    that the chosen answer is the better one. `disagreement` is the largest less the smallest of the
    own ones: unlike their deviation it does not fade where one population of many stands apart.

    Args:
        scores: which pairs the rows are.
        part_NK: what `parts_of` gives for each source's pairs.
        texts: what `texts.read_texts` gives, as further columns.
    """
    return pa.concat_tables(
        _source_table(fitted, name, scores[name], part_NK[name], texts[name] if texts else None)
        for name in scores
    )


def _source_table(
    fitted: Calibration,
    name: str,
    scores: SourceScores,
    part_NK: Floats,
    texts: pa.Table | None,
) -> pa.Table:
    shared_N = part_NK[:, 0]
    own_NK = sigmoid((shared_N[:, None] + part_NK[:, 1:]) / fitted.temperature_K)
    columns = {
        "source": [name] * len(shared_N),
        "pair": pa.array(scores.pair_N, pa.int64()),
        "disagreement": np.ptp(own_NK, axis=1),
        "shared": sigmoid(shared_N / fitted.shared_temperature),
        **{f"own.{name}": own_N for name, own_N in zip(fitted.names, own_NK.T, strict=True)},
    }
    if texts is not None:
        columns |= dict(zip(texts.column_names, texts.columns, strict=True))
    return pa.table(columns)
