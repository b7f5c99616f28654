"""Run the test pairs through the model, on all workers of a run.

Legend: N test pairs of all sources, C numbers of a pair.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from more_ray.evaluate.pairs import EvaluationPairs, pack_rows


@torch.no_grad()
def run_test_pairs(model: nn.Module, pairs: EvaluationPairs, device: torch.device) -> np.ndarray:
    """The numbers that `model` gives for each pair, `[N, C]`, the same on every rank.

    Batches are dealt out to the ranks. Every rank runs the model equally often, as ZeRO-3 requires.
    """
    ranks, rank = dist.get_world_size(), dist.get_rank()
    value_NC = torch.empty(0)
    model.eval()
    for start in range(0, len(pairs.batches), ranks):
        mine = start + rank
        rows = pairs.batches[mine] if mine < len(pairs.batches) else pairs.batches[0][:1]
        batch_NC, _ = model(pack_rows(pairs.table.take(rows)).to(device))
        if not start:
            value_NC = batch_NC.new_zeros(len(pairs.table), batch_NC.shape[1])
        if mine < len(pairs.batches):
            value_NC[torch.from_numpy(rows).to(device)] = batch_NC
    model.train()
    dist.all_reduce(value_NC)
    return value_NC.cpu().numpy()
