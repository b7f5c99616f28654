"""The test pairs of prepared data, in batches of similar length.

Legend: N test pairs of all sources, H heads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from more_ray import storage
from more_ray.data.packing import PackedBatch
from more_ray.data.prepared import TOKENS, Prepared
from more_ray.evaluate.files import label_of, subsets_of
from more_ray.metrics.perplexity import Likelihoods
from more_ray.metrics.scores import SourceScores
from more_ray.parquet import read_table


class EvaluationPairs:
    """All sources' test pairs: `table [N]`, and `batches`, the rows of each batch.

    A batch holds at most `tokens` tokens, or a single longer pair; the longest pairs come first.
    """

    def __init__(self, prepared: Prepared, tokens: int = sys.maxsize) -> None:
        self._tables = {name: _test_table(prepared, name) for name in prepared.names}
        self.table = pa.concat_tables(self._tables.values())
        self.batches = list(batches_of_like_length(self.table["tokens"].to_numpy(), tokens))

    def scores(self, score_N2: np.ndarray) -> dict[str, SourceScores]:
        """The scores by source, from the chosen and rejected score of each row."""
        parts = self._by_source(score_N2)
        return {name: _source_scores(self._tables[name], part) for name, part in parts.items()}

    def by_own_head(self, score_N2H: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """`[N, 2]`: each source's pairs by its own head, others by the shared one.

        Args:
            score_N2H: scores by the shared head, then by the head of each of `names`.
        """
        head_N = np.concatenate(
            [
                np.full(len(table), names.index(name) + 1 if name in names else 0)
                for name, table in self._tables.items()
            ]
        )
        return np.take_along_axis(score_N2H, head_N[:, None, None], axis=2)[:, :, 0]

    def likelihoods(self, nll_N: np.ndarray) -> dict[str, Likelihoods]:
        """Likelihoods by source, from the negative log-likelihood of each row's chosen answer."""
        return {
            name: Likelihoods(
                self._tables[name]["pair"].to_numpy(),
                part,
                pc.list_value_length(self._tables[name]["chosen"]).to_numpy(),
            )
            for name, part in self._by_source(nll_N).items()
        }

    def _by_source(self, value_N: np.ndarray) -> dict[str, np.ndarray]:
        ends = np.cumsum([len(table) for table in self._tables.values()])
        return dict(zip(self._tables, np.split(value_N, ends[:-1]), strict=True))


def pack_rows(pairs: pa.Table) -> PackedBatch:
    """Pack rows of prepared data into a batch."""
    parts = list(zip(*(pairs[part].to_pylist() for part in TOKENS), strict=True))
    tokens = [token for pair in parts for part in pair for token in part]
    lengths = [[len(part) for part in pair] for pair in parts]
    zeros = np.zeros(len(parts))
    return PackedBatch.from_arrays(np.asarray(tokens), np.asarray(lengths), zeros, zeros)


def _test_table(prepared: Prepared, name: str) -> pa.Table:
    return read_table(storage.join(prepared.folder, f"{name}.test.parquet"))


def batches_of_like_length(tokens_N: np.ndarray, limit: int) -> Iterator[np.ndarray]:
    order = np.argsort(-tokens_N, kind="stable")
    start, total = 0, 0
    for end, row in enumerate(order):
        if end > start and total + tokens_N[row] > limit:
            yield order[start:end]
            start, total = end, 0
        total += tokens_N[row]
    yield order[start:]


def _source_scores(table: pa.Table, score_N2: np.ndarray) -> SourceScores:
    probability = table["probability"]
    return SourceScores(
        pair_N=table["pair"].to_numpy(),
        chosen_N=score_N2[:, 0],
        rejected_N=score_N2[:, 1],
        chosen_length_N=table["chosen_characters"].to_numpy(),
        rejected_length_N=table["rejected_characters"].to_numpy(),
        probability_N=None if probability.null_count else probability.to_numpy(),
        subset_N=subsets_of(table),
        share_N=label_of(table, "share"),
        weight_N=label_of(table, "weight"),
    )
