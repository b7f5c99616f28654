from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from more_ray.objective.noise import without_noise
from more_ray.objective.ranking import ranking_loss
from more_ray.objective.weighting import Fixed, GroupDro, MinNorm
from more_ray.train.exchange import solve
from more_ray.train.sums import SourceSums, WeightedSums

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


SCHEMES = {
    "more": MinNorm(),
    "momentum": MinNorm(momentum=0.5),
    "debiased": MinNorm(debias=True),
    "group_dro": GroupDro(0.5),
}


@given(st.integers(0, 2**32), st.sampled_from(list(SCHEMES)), st.floats(1e-3, 1e3))
@settings(deadline=None)
def test_lam_is_that_of_weighted_means(seed: int, scheme: str, scale: float) -> None:
    """Solved from the means themselves, whatever all weights of a source are multiplied by."""
    rng = np.random.default_rng(seed)
    source_N, weight_N = np.array([0, 0, 0, 1, 1, 2]), rng.uniform(0.1, 2, 6)
    weight_N[source_N == 0] *= scale
    grad_NH, loss_N = rng.normal(size=(6, 4)), rng.uniform(0, 2, 6)
    share_N = weight_N / np.bincount(source_N, weight_N)[source_N]
    mean_KH = np.array([share_N[source_N == k] @ grad_NH[source_N == k] for k in range(3)])
    loss_K = np.bincount(source_N, share_N * loss_N)
    # The noise of a mean with shares p: its squared norm less the mean inner product of two pairs.
    square_K = np.bincount(source_N, share_N**2 * np.square(grad_NH).sum(axis=1))
    alone_K = np.bincount(source_N, share_N**2)
    norm2_K = np.square(mean_KH).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise_K = norm2_K - (norm2_K - square_K) / (1 - alone_K)
    noise_K[2] = np.nan
    counts = np.ones(3)
    expected_K = copy.deepcopy(SCHEMES[scheme]).weights(
        mean_KH @ mean_KH.T, noise_K, loss_K, counts, torch.from_numpy(mean_KH)
    )
    sum_KH, square_K = np.zeros((3, 4)), np.zeros(3)
    np.add.at(sum_KH, source_N, weight_N[:, None] * grad_NH)
    np.add.at(square_K, source_N, np.square(weight_N[:, None] * grad_NH).sum(axis=1))
    values_N = {"loss_K": weight_N * loss_N, "correct_K": weight_N, "tokens_K": np.ones(6)}
    values_N |= {"weight_K": weight_N, "weight2_K": weight_N**2}
    sums = WeightedSums.of(
        torch.from_numpy(sum_KH),
        torch.from_numpy(square_K),
        torch.from_numpy(source_N),
        **{name: torch.from_numpy(value_N) for name, value_N in values_N.items()},
    )
    weight_K, stats = solve(sums, copy.deepcopy(SCHEMES[scheme]))
    if scheme == "debiased":
        # Of a matrix that lost its negative eigenvalues several lam may be the shortest.
        clean_KK = without_noise(mean_KH @ mean_KH.T, noise_K)
        ours, best = (lam_K @ clean_KK @ lam_K for lam_K in (stats.lam_K, expected_K))
        np.testing.assert_allclose(ours, best, atol=1e-5)
    else:
        np.testing.assert_allclose(stats.lam_K, expected_K, atol=1e-5)
    np.testing.assert_allclose(stats.loss_K, loss_K, rtol=1e-5)
    np.testing.assert_allclose(stats.noise_share_K, noise_K / norm2_K, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(stats.accuracy_K, 1, rtol=1e-5)
    assert stats.count_K.tolist() == [3, 2, 1]
    # What the loss becomes: lam times the weighted means.
    total = (weight_K.numpy()[source_N] * weight_N * loss_N).sum()
    assert total == pytest.approx(stats.lam_K @ loss_K, rel=1e-4)


def test_pairs_of_sources_without_weight_teach_nothing() -> None:
    counts = np.array([0.0, 5.0])
    nothing = np.zeros((2, 2))
    found = Fixed(np.array([1.0, 0.0])).weights(nothing, counts, counts, counts, torch.zeros(2, 3))
    assert found.tolist() == [0.0, 0.0]


def test_a_source_without_pairs_weighs_nothing() -> None:
    weight_K, stats = solve(sums([[2.0, 0.0], [0.0, 0.0]], [2.0, 0.0]), MinNorm())
    assert stats.lam_K.tolist() == [1, 0]
    assert weight_K.tolist() == [0.5, 0]
