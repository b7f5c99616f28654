"""Score the test pairs on all workers.

Legend: N test pairs of all sources.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from torch import nn

from more_ray import storage
from more_ray.data.packing import PackedBatch
from more_ray.data.prepared import TOKENS, Prepared
from more_ray.evaluate.summary import SourceScores


@torch.no_grad()
def score_test_pairs(
    model: nn.Module, prepared: Prepared, tokens: int, device: torch.device
) -> dict[str, SourceScores]:
    """Scores of every source's test pairs, the same on every rank.

    Batches of at most `tokens` tokens, pairs of like length together, are dealt out to the ranks.
    Every rank runs the model equally often, as ZeRO-3 requires.
    """
    ranks, rank = dist.get_world_size(), dist.get_rank()
    tables = [_test_table(prepared, name) for name in prepared.names]
    pairs = pa.concat_tables(tables)
    score_N2 = torch.zeros(len(pairs), 2, device=device)
    chunks = list(_chunks(pairs["tokens"].to_numpy(), tokens))
    model.eval()
    for start in range(0, len(chunks), ranks):
        mine = start + rank
        rows = chunks[mine] if mine < len(chunks) else chunks[0][:1]
        reward_N2, _ = model(_pack(pairs.take(rows)).to(device))
        if mine < len(chunks):
            score_N2[torch.from_numpy(rows).to(device)] = reward_N2
    model.train()
    dist.all_reduce(score_N2)
    split = np.cumsum([len(table) for table in tables])[:-1]
    return {
        name: _source_scores(table, part)
        for name, table, part in zip(
            prepared.names, tables, np.split(score_N2.cpu().numpy(), split), strict=True
        )
    }


def scores_table(scores: dict[str, SourceScores]) -> pa.Table:
    """`scores.parquet`: the source, chosen score and rejected score of each test pair."""
    return pa.table(
        {
            "source": np.repeat(list(scores), [len(one.chosen_N) for one in scores.values()]),
            "chosen": np.concatenate([one.chosen_N for one in scores.values()]),
            "rejected": np.concatenate([one.rejected_N for one in scores.values()]),
        }
    )


def _test_table(prepared: Prepared, name: str) -> pa.Table:
    filesystem, path = storage.locate(storage.join(prepared.folder, f"{name}.test.parquet"))
    return pq.read_table(path, filesystem=filesystem)


def _chunks(tokens_N: np.ndarray, limit: int) -> Iterator[np.ndarray]:
    """Rows of each batch: longest pairs first, at most `limit` tokens or a single pair."""
    order = np.argsort(-tokens_N, kind="stable")
    start, total = 0, 0
    for end, row in enumerate(order):
        if end > start and total + tokens_N[row] > limit:
            yield order[start:end]
            start, total = end, 0
        total += tokens_N[row]
    yield order[start:]


def _pack(pairs: pa.Table) -> PackedBatch:
    parts = list(zip(*(pairs[part].to_pylist() for part in TOKENS), strict=True))
    tokens = [token for pair in parts for part in pair for token in part]
    lengths = [[len(part) for part in pair] for pair in parts]
    nothing = np.zeros(len(parts))
    return PackedBatch.from_arrays(np.asarray(tokens), np.asarray(lengths), nothing, nothing)


def _source_scores(table: pa.Table, score_N2: np.ndarray) -> SourceScores:
    probability = table["probability"]
    return SourceScores(
        chosen_N=score_N2[:, 0],
        rejected_N=score_N2[:, 1],
        chosen_length_N=table["chosen_characters"].to_numpy(),
        rejected_length_N=table["rejected_characters"].to_numpy(),
        probability_N=None if probability.null_count else probability.to_numpy(),
    )
