from __future__ import annotations

import json

import torch

from more_ray.objective.weighting import MinNorm
from more_ray.train.exchange import solve
from more_ray.train.metrics_line import metrics_line
from more_ray.train.sums import SourceSums


def test_an_unknown_share_of_noise_is_null() -> None:
    """Of a source with two pairs, of one with a single pair, of one without a gradient."""
    grad_KH = torch.tensor([[2.0], [2.0], [0.0]])
    square_K, count_K = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([2.0, 1.0, 2.0])
    sums = SourceSums(grad_KH, square_K, *torch.ones(3, 3), count_K)
    _, stats = solve(sums, MinNorm())
    line = metrics_line(0, 1e-3, stats, ("a", "b", "c"), 1.0, 0.0, False)
    # (4 - 3) / 2 of the squared norm of 1 is not noise.
    assert json.loads(json.dumps(line))["noise_share"] == {"a": 0.5, "b": None, "c": None}
