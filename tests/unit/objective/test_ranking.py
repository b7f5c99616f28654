from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from more_ray.objective.ranking import (
    head_gradient_sums,
    ranking_loss,
    ranking_slope,
    sum_by_source,
)


@given(st.integers(0, 2**32), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=30)
def test_closed_form_head_gradient_is_that_of_autograd(seed: int, soft: bool, heavy: bool) -> None:
    torch.manual_seed(seed)
    pairs, hidden, sources = 12, 7, 3
    share_N = 0.5 + 0.5 * torch.rand(pairs, dtype=torch.float64) if soft else None
    weight_N = 0.1 + torch.rand(pairs, dtype=torch.float64) if heavy else torch.ones(pairs)
    z_chosen_NH, z_rejected_NH = torch.randn(2, pairs, hidden, dtype=torch.float64)
    source_N = torch.arange(pairs) % sources
    head_H = torch.randn(hidden, dtype=torch.float64, requires_grad=True)
    delta_N = (z_chosen_NH - z_rejected_NH) @ head_H

    sums_KH, square_K = head_gradient_sums(
        weight_N * ranking_slope(delta_N.detach(), share_N),
        z_chosen_NH,
        z_rejected_NH,
        source_N,
        sources,
    )
    loss_N = weight_N * ranking_loss(delta_N, share_N)

    for source in range(sources):
        grads = [
            torch.autograd.grad(loss, head_H, retain_graph=True)[0]
            for loss in loss_N[source_N == source]
        ]
        torch.testing.assert_close(sums_KH[source].double(), sum(grads), atol=1e-5, rtol=1e-5)
        square = sum(grad_H @ grad_H for grad_H in grads)
        torch.testing.assert_close(square_K[source].double(), square, atol=1e-5, rtol=1e-5)


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20))
@settings(deadline=None)
def test_a_share_of_one_is_a_hard_label_bit_for_bit(delta: list[float]) -> None:
    delta_N = torch.tensor(delta)
    one_N = torch.ones(len(delta))
    assert torch.equal(ranking_loss(delta_N, one_N), ranking_loss(delta_N))
    assert torch.equal(ranking_slope(delta_N, one_N), ranking_slope(delta_N))


@given(st.floats(-50, 50), st.floats(0, 1))
@settings(deadline=None)
def test_the_loss_of_a_share_is_the_mean_over_its_votes(delta: float, share: float) -> None:
    delta_N = torch.tensor([delta, -delta], dtype=torch.float64)
    share_N = torch.tensor([share, 1 - share], dtype=torch.float64)
    expected = (share_N * ranking_loss(delta_N)).sum().item()
    # The same whichever of the two answers comes first.
    assert ranking_loss(delta_N, share_N).tolist() == pytest.approx([expected] * 2, abs=1e-12)


def test_ranking_loss_is_finite_for_extreme_rewards() -> None:
    delta_N = torch.tensor([-1e4, 0.0, 1e4])
    assert ranking_loss(delta_N).tolist() == pytest.approx([1e4, 0.6931472, 0.0])


def test_a_source_without_pairs_has_zero_sums() -> None:
    sums_K = sum_by_source(torch.ones(3), torch.tensor([0, 0, 2]), 4)
    assert sums_K.tolist() == [2, 0, 1, 0]
