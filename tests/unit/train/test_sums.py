from __future__ import annotations

import numpy as np
import pytest
import torch

from more_ray.train.sums import SourceSums, WeightedSums

SOURCE_N = torch.tensor([0, 2, 2])


def sums(hidden: int, seed: int = 0) -> SourceSums:
    """Sums of three pairs of three sources, the second of which has none."""
    generator = torch.Generator().manual_seed(seed)
    grad_KH = torch.randn(3, hidden, generator=generator)
    loss_N, correct_N, tokens_N = torch.randn(3, 3, generator=generator)
    square_K = torch.rand(3, generator=generator)
    other = {"loss_K": loss_N, "correct_K": correct_N, "tokens_K": tokens_N}
    return SourceSums.of(grad_KH, square_K, SOURCE_N, **other)


def assert_equal(one: SourceSums, other: SourceSums) -> None:
    for name in ("grad_KH", *SourceSums.columns()):
        assert torch.equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("hidden", [0, 5])
def test_unpacking_is_the_inverse_of_packing(hidden: int) -> None:
    made = sums(hidden)
    packed_KC = made.pack()
    assert packed_KC.shape == (3, hidden + 5)
    assert_equal(SourceSums.unpack(packed_KC), made)
    assert made.count_K.tolist() == [1, 0, 2]


def test_the_total_adds_up_every_sum() -> None:
    one, other = sums(5), sums(5, seed=1)
    assert_equal(SourceSums.total([one, other]), SourceSums.unpack(one.pack() + other.pack()))


def test_sums_with_weights_are_sent_and_added_like_the_others() -> None:
    value_N = {name: torch.rand(3) for name in WeightedSums.columns()[1:]}
    made = WeightedSums.of(torch.rand(3, 5), torch.rand(3), SOURCE_N, **value_N)
    sent = WeightedSums.unpack(made.pack())
    assert isinstance(sent, WeightedSums)
    assert torch.equal(sent.weight2_K, made.weight2_K)
    total = WeightedSums.total([made, made])
    assert torch.equal(total.weight_K, 2 * made.weight_K)
    assert list(made.on_host()[1]) == WeightedSums.columns()


def test_the_host_gets_inner_products_in_place_of_gradients() -> None:
    made = sums(5)
    gram_KK, sum_K = made.on_host()
    grad_KH = made.grad_KH.double().numpy()
    np.testing.assert_allclose(gram_KK, grad_KH @ grad_KH.T, atol=1e-12)
    assert list(sum_K) == SourceSums.columns()
    for name, values in sum_K.items():
        np.testing.assert_array_equal(values, getattr(made, name))
