"""Score the test pairs on all workers of a run.

Legend: N test pairs of all sources.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn

from more_ray.data.prepared import Prepared
from more_ray.data.test_pairs import EvaluationPairs, pack_rows
from more_ray.evaluate.scores import SourceScores


@torch.no_grad()
def score_test_pairs(
    model: nn.Module, prepared: Prepared, tokens: int, device: torch.device
) -> dict[str, SourceScores]:
    """Scores of every source's test pairs, the same on every rank.

    Batches of at most `tokens` tokens are dealt out to the ranks. Every rank runs the model equally
    often, as ZeRO-3 requires.
    """
    ranks, rank = dist.get_world_size(), dist.get_rank()
    pairs = EvaluationPairs(prepared, tokens)
    score_N2 = torch.zeros(len(pairs.table), 2, device=device)
    model.eval()
    for start in range(0, len(pairs.batches), ranks):
        mine = start + rank
        rows = pairs.batches[mine] if mine < len(pairs.batches) else pairs.batches[0][:1]
        reward_N2, _ = model(pack_rows(pairs.table.take(rows)).to(device))
        if mine < len(pairs.batches):
            score_N2[torch.from_numpy(rows).to(device)] = reward_N2
    model.train()
    dist.all_reduce(score_N2)
    return pairs.scores(score_N2.cpu().numpy())
