from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from more_ray.data.formatting import shared_prefix
from more_ray.data.packing import pack

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=12)


@given(TOKENS, TOKENS)
def test_the_shared_prefix_is_the_longest_that_leaves_a_token_each(
    chosen: list[int], rejected: list[int]
) -> None:
    shared = shared_prefix(chosen, rejected)
    assert chosen[:shared] == rejected[:shared]
    assert shared < min(len(chosen), len(rejected))
    longer = shared + 1
    assert longer >= min(len(chosen), len(rejected)) or chosen[:longer] != rejected[:longer]


@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=5))
def test_padding_a_packed_batch_gives_back_both_sequences(
    pairs: list[tuple[list[int], list[int]]],
) -> None:
    batch = pack(*zip(*pairs, strict=True))
    input_ids, mask = batch.padded()
    rows = [row[keep.bool()].tolist() for row, keep in zip(input_ids, mask, strict=True)]
    assert rows == [one for one, _ in pairs] + [other for _, other in pairs]


def test_layout_of_a_batch() -> None:
    batch = pack([[5, 6, 7, 8], [1]], [[5, 6, 9], [2, 3]], source=[1, 0], margin=[0.5, 0])
    assert batch.input_ids_T.tolist() == [5, 6, 7, 8, 9, 1, 2, 3]
    assert batch.position_ids_T.tolist() == [0, 1, 2, 3, 2, 0, 0, 1]
    assert batch.lengths == ((2, 2, 1), (0, 1, 2))
    assert batch.last_N2.tolist() == [[3, 4], [5, 7]]
    assert batch.tokens_N.tolist() == [5, 3]
    assert batch.source_N.tolist() == [1, 0]
    assert batch.margin_N.tolist() == [0.5, 0]
