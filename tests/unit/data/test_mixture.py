from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from more_ray.data.mixture import Mixture, deal

SIZES = st.lists(st.integers(1, 700), min_size=1, max_size=4).map(tuple)


def mixture(sizes: tuple[int, ...], batch: int, resample: bool, epochs: int = 1) -> Mixture:
    names = tuple(f"source_{number}" for number in range(len(sizes)))
    return Mixture(names, sizes, batch, epochs, resample, seed=3)


@given(SIZES, st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_resampling_reads_every_source_evenly(sizes: tuple[int, ...], batch: int) -> None:
    mixed = mixture(sizes, batch, resample=True)
    steps = [mixed.rows(step) for step in range(mixed.steps)]
    for source, size in enumerate(sizes):
        assert {len(rows[source]) for rows in steps} == {batch}
        read = np.concatenate([rows[source] for rows in steps])
        times = np.bincount(read, minlength=size)
        assert times.sum() == mixed.steps * batch >= max(sizes)
        assert times.max() - times.min() <= 1
    assert mixed.fewest_pairs == batch * len(sizes)


@given(SIZES, st.integers(1, 20), st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_without_resampling_every_pair_comes_once_an_epoch(
    sizes: tuple[int, ...], batch: int, epochs: int
) -> None:
    mixed = mixture(sizes, batch, resample=False, epochs=epochs)
    steps = [mixed.rows(step) for step in range(mixed.steps)]
    for source, size in enumerate(sizes):
        read = np.concatenate([rows[source] for rows in steps])
        assert (np.bincount(read, minlength=size) == epochs).all()
    in_all = [sum(len(rows) for rows in step) for step in steps]
    assert max(in_all) <= batch * len(sizes) + len(sizes)
    assert min(in_all) == mixed.fewest_pairs


def test_another_epoch_or_seed_has_another_order() -> None:
    mixed = mixture((600,), 600, resample=True, epochs=2)
    first, second = mixed.rows(0)[0], mixed.rows(1)[0]
    assert not np.array_equal(first, second)
    assert set(first) == set(second) == set(range(600))
    other = Mixture(mixed.names, mixed.sizes, 600, 1, True, seed=4)
    assert not np.array_equal(first, other.rows(0)[0])


def test_rows_are_a_pure_function_of_the_step() -> None:
    mixed = mixture((500, 90), 8, resample=True)
    forward = [mixed.rows(step) for step in range(10)]
    backward = [mixed.rows(step) for step in reversed(range(10))][::-1]
    for one, other in zip(forward, backward, strict=True):
        for rows, again in zip(one, other, strict=True):
            np.testing.assert_array_equal(rows, again)


@given(st.integers(1, 5), st.integers(1, 16), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_ranks_get_equal_counts_and_nearly_equal_tokens(
    sources: int, pairs: int, ranks: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tokens = [rng.integers(20, 500, size=pairs * ranks) for _ in range(sources)]
    dealt = deal(tokens, ranks)
    for rank_of_pair in dealt:
        assert (np.bincount(rank_of_pair, minlength=ranks) == pairs).all()
    load = [
        sum(int(count[rank == number].sum()) for count, rank in zip(tokens, dealt, strict=True))
        for number in range(ranks)
    ]
    assert max(load) - min(load) <= 500 * sources


def test_what_is_left_of_a_source_goes_to_the_next_rank() -> None:
    assert {int(rank_N[0]) for rank_N in deal([np.array([5])] * 3, 3)} == {0, 1, 2}


def test_pairs_are_dealt_back_and_forth() -> None:
    tokens_N = np.arange(8, 0, -1)
    (rank_N,) = deal([tokens_N], 2)
    assert [int(tokens_N[rank_N == rank].sum()) for rank in (0, 1)] == [18, 18]


def test_epochs_follow_each_other_without_a_gap() -> None:
    assert Mixture(("a",), (5,), 2, 2, True, 0).steps == 5


def test_each_source_has_an_order_of_its_own() -> None:
    one, other = Mixture(("a", "b"), (600, 600), 600, 1, True, 0).rows(0)
    assert (one != other).any()
