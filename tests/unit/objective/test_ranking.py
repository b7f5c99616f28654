from __future__ import annotations

import pytest
import torch

from more_ray.objective.ranking import head_gradient_sums, ranking_loss, sum_by_source


def test_closed_form_head_gradient_is_that_of_autograd() -> None:
    torch.manual_seed(0)
    pairs, hidden, sources = 12, 7, 3
    z_chosen_NH, z_rejected_NH = torch.randn(2, pairs, hidden, dtype=torch.float64)
    source_N = torch.arange(pairs) % sources
    head_H = torch.randn(hidden, dtype=torch.float64, requires_grad=True)
    delta_N = (z_chosen_NH - z_rejected_NH) @ head_H

    sums_KH, square_K = head_gradient_sums(
        delta_N.detach(), z_chosen_NH, z_rejected_NH, source_N, sources
    )

    for source in range(sources):
        grads = [
            torch.autograd.grad(loss, head_H, retain_graph=True)[0]
            for loss in ranking_loss(delta_N)[source_N == source]
        ]
        torch.testing.assert_close(sums_KH[source].double(), sum(grads), atol=1e-5, rtol=1e-5)
        square = sum(grad_H @ grad_H for grad_H in grads)
        torch.testing.assert_close(square_K[source].double(), square, atol=1e-5, rtol=1e-5)


def test_ranking_loss_is_finite_for_extreme_rewards() -> None:
    delta_N = torch.tensor([-1e4, 0.0, 1e4])
    assert ranking_loss(delta_N).tolist() == pytest.approx([1e4, 0.6931472, 0.0])


def test_a_source_without_pairs_has_zero_sums() -> None:
    sums_K = sum_by_source(torch.ones(3), torch.tensor([0, 0, 2]), 4)
    assert sums_K.tolist() == [2, 0, 1, 0]
