from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from more_ray.data.formatting import shared_prefix
from more_ray.data.layout import Segment
from more_ray.data.packing import pack, pack_answers

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=12)


@given(st.lists(TOKENS, min_size=1, max_size=4))
def test_the_shared_prefix_is_the_longest_that_leaves_a_token_each(
    sequences: list[list[int]],
) -> None:
    shared = shared_prefix(*sequences)
    shortest = min(map(len, sequences))
    starts = {tuple(sequence[:shared]) for sequence in sequences}
    assert len(starts) == 1
    assert shared < shortest
    longer = {tuple(sequence[: shared + 1]) for sequence in sequences}
    assert shared + 1 == shortest or len(longer) > 1


@given(st.lists(st.lists(TOKENS, min_size=1, max_size=4), min_size=1, max_size=5))
def test_padding_packed_answers_gives_back_every_sequence(prompts: list[list[list[int]]]) -> None:
    batch = pack_answers(prompts)
    input_ids, mask = batch.padded()
    rows = [row[keep.bool()].tolist() for row, keep in zip(input_ids, mask, strict=True)]
    assert rows == [answer for answers in prompts for answer in answers]
    assert batch.input_ids_T[batch.last_A].tolist() == [row[-1] for row in rows]


def test_layout_of_a_batch() -> None:
    batch = pack([[5, 6, 7, 8], [1]], [[5, 6, 9], [2, 3]], source=[1, 0], margin=[0.5, 0])
    assert batch.input_ids_T.tolist() == [5, 6, 7, 8, 9, 1, 2, 3]
    assert batch.position_ids_T.tolist() == [0, 1, 2, 3, 2, 0, 0, 1]
    assert batch.segments == (Segment(2, (2, 1)), Segment(0, (1, 2)))
    assert batch.last_A.tolist() == [3, 4, 5, 7]
    assert batch.tokens_N.tolist() == [5, 3]
    assert batch.source_N.tolist() == [1, 0]
    assert batch.margin_N.tolist() == [0.5, 0]
