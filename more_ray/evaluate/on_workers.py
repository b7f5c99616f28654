"""Run the test pairs through the model, on all workers of a run.

Legend: N test pairs of all sources.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from more_ray.evaluate.pairs import EvaluationPairs, pack_rows


@torch.no_grad()
def run_test_pairs(model: nn.Module, pairs: EvaluationPairs, device: torch.device) -> np.ndarray:
    """The two numbers that `model` gives for each pair, `[N, 2]`, the same on every rank.

    Batches are dealt out to the ranks. Every rank runs the model equally often, as ZeRO-3 requires.
    """
    ranks, rank = dist.get_world_size(), dist.get_rank()
    value_N2 = torch.zeros(len(pairs.table), 2, device=device)
    model.eval()
    for start in range(0, len(pairs.batches), ranks):
        mine = start + rank
        rows = pairs.batches[mine] if mine < len(pairs.batches) else pairs.batches[0][:1]
        batch_value_N2, _ = model(pack_rows(pairs.table.take(rows)).to(device))
        if mine < len(pairs.batches):
            value_N2[torch.from_numpy(rows).to(device)] = batch_value_N2
    model.train()
    dist.all_reduce(value_N2)
    return value_N2.cpu().numpy()
