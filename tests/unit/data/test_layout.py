from __future__ import annotations

from itertools import chain

import torch
from hypothesis import given
from hypothesis import strategies as st

from more_ray.data.layout import Layout, Segment

PROMPTS = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.integers(1, 7), min_size=1, max_size=5)),
    min_size=1,
    max_size=5,
).map(lambda prompts: [Segment(shared, tuple(own)) for shared, own in prompts])


@given(PROMPTS)
def test_an_answer_sees_the_shared_tokens_and_its_own(segments: list[Segment]) -> None:
    layout = Layout.of(segments)
    seen, positions, last, before = [], [], [], []
    token = 0
    for shared, own in segments:
        prompt = list(range(token, token + shared))
        positions += range(shared)
        token += shared
        for length in own:
            mine = list(range(token, token + length))
            seen.append(prompt + mine)
            positions += range(shared, shared + length)
            last.append(mine[-1])
            before.append(prompt[-1] if prompt else -1)
            token += length
    assert layout.seen_R.tolist() == list(chain(*seen))
    assert layout.key_ends.diff().tolist() == list(map(len, seen))
    assert layout.longest_key == max(map(len, seen))
    assert layout.position_ids_T.tolist() == positions
    assert layout.last_A.tolist() == last
    assert layout.before_A.tolist() == before
    assert layout.tokens_P.tolist() == [sum(segment.parts) for segment in segments]
    asking = [n for shared, (first, *others) in segments for n in (shared + first, *others)]
    assert layout.query_ends.diff().tolist() == asking
    assert layout.longest_query == max(asking)


@given(PROMPTS)
def test_every_copy_of_a_token_is_known_once(segments: list[Segment]) -> None:
    layout = Layout.of(segments)
    tokens = len(layout.position_ids_T)
    assert layout.seen_R[layout.first_copy_T].tolist() == list(range(tokens))
    positions = [layout.first_copy_T]
    for copies in layout.further_copies:
        assert len(copies.token.unique()) == len(copies.token)
        assert torch.equal(layout.seen_R[copies.position], copies.token)
        positions.append(copies.position)
    assert torch.cat(positions).sort().values.tolist() == list(range(len(layout.seen_R)))


def test_all_tensors_move() -> None:
    moved = Layout.of([Segment(2, (3, 4)), Segment(0, (1, 1))]).to("meta")
    assert moved.seen_R.is_meta
    assert moved.further_copies[0].position.is_meta
