from __future__ import annotations

import numpy as np
import pytest
import torch

from more_ray.objective.ranking import ranking_loss
from more_ray.objective.weighting import Fixed, MinNorm
from more_ray.train.exchange import solve
from more_ray.train.sums import SourceSums

SQUARE_K, LOSS_K, CORRECT_K, TOKENS_K = [6.0, 20.0], [2.0, 6.0], [1.0, 3.0], [100.0, 300.0]


def sums(grad_KH: list[list[float]], count_K: list[float]) -> SourceSums:
    parts = (grad_KH, SQUARE_K, LOSS_K, CORRECT_K, TOKENS_K, count_K)
    return SourceSums(*map(torch.tensor, parts))


def test_statistics_are_means_over_the_pairs_of_a_source() -> None:
    weight_K, stats = solve(sums([[2.0, 0.0], [0.0, 8.0]], [2.0, 4.0]), MinNorm())
    np.testing.assert_allclose(stats.grad_norm_K, [1, 2])
    np.testing.assert_allclose(stats.loss_K, [1, 1.5])
    np.testing.assert_allclose(stats.accuracy_K, [0.5, 0.75])
    np.testing.assert_allclose(stats.cosine_KK, np.eye(2))
    np.testing.assert_allclose(stats.lam_K, [0.8, 0.2])
    np.testing.assert_allclose(weight_K, [0.4, 0.05])
    assert stats.loss == pytest.approx(0.8 * 1 + 0.2 * 1.5)


def test_the_share_of_noise_is_what_is_not_common_to_two_pairs() -> None:
    # (||sum||^2 - sum of squares) / (B (B - 1)): (4 - 6) / 2 = -1 of 1, (64 - 20) / 12 = 11/3 of 4.
    _, stats = solve(sums([[2.0, 0.0], [0.0, 8.0]], [2.0, 4.0]), MinNorm())
    np.testing.assert_allclose(stats.noise_share_K, [2, 1 / 12])
    _, stats = solve(sums([[2.0, 0.0], [0.0, 0.0]], [1.0, 4.0]), MinNorm())
    assert np.isnan(stats.noise_share_K).all()  # a single pair; no gradient


def test_debiased_weights_are_solved_from_what_two_pairs_have_in_common() -> None:
    _, stats = solve(sums([[3.0, 0.0], [0.0, 8.0]], [2.0, 4.0]), MinNorm(debias=True))
    # Of the squared norms 9/4 and 4, (9 - 6) / 2 = 3/2 and (64 - 20) / 12 = 11/3 are not noise, and
    # lam goes by their inverses; what is logged stays what was measured.
    np.testing.assert_allclose(stats.lam_K, np.array([22, 9]) / 31)
    np.testing.assert_allclose(stats.grad_norm_K, [1.5, 2])


def test_uniform_weights_give_the_mean_loss() -> None:
    loss_N = ranking_loss(torch.randn(6, generator=torch.Generator().manual_seed(0)))
    source_N = torch.tensor([0, 1, 0, 1, 1, 0])
    weight_K, _ = solve(sums([[1.0], [2.0]], [3.0, 3.0]), Fixed(np.array([0.5, 0.5])))
    torch.testing.assert_close((weight_K[source_N] * loss_N).sum(), loss_N.mean())


def test_a_source_without_pairs_weighs_nothing() -> None:
    weight_K, stats = solve(sums([[2.0, 0.0], [0.0, 0.0]], [2.0, 0.0]), MinNorm())
    assert stats.lam_K.tolist() == [1, 0]
    assert weight_K.tolist() == [0.5, 0]
