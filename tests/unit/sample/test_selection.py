"""Which sample of each prompt is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from more_ray.data.messages import Message
from more_ray.errors import UserError
from more_ray.sample.selection import SAMPLE_SCHEMA, select, summarise

RESPONSES = st.lists(
    st.lists(st.sampled_from(["", "a", "bb", "BB", "ccc"]), min_size=3, max_size=3), min_size=1
)


def samples(responses: Sequence[Sequence[str]]) -> pa.Table:
    rows = [
        {
            "row": row,
            "prompt": [{"role": "user", "content": f"question {row}"}],
            "sample": number,
            "response": response,
            "tokens": len(response) + 1,
            "finished": response != "ccc",
        }
        for row, several in enumerate(responses)
        for number, response in enumerate(several)
    ]
    return pa.Table.from_pylist(rows, SAMPLE_SCHEMA)


def by_length(prompt: Sequence[Message], responses: Sequence[str]) -> list[float]:
    """A reward with ties, which refuses what should never be asked."""
    assert prompt[0]["content"].startswith("question")
    assert "" not in responses
    assert len(set(responses)) == len(responses) > 0
    return [float(len(response)) for response in responses]


@given(RESPONSES)
def test_the_best_is_selected_and_nothing_lost(responses: list[list[str]]) -> None:
    given_ = samples(responses)
    scored = select(given_, by_length)
    assert scored.select(SAMPLE_SCHEMA.names).equals(given_)
    rows = scored.to_pylist()
    for row, several in enumerate(responses):
        mine = [one for one in rows if one["row"] == row]
        longest = max(several, key=len)  # the first of the longest
        expected = [several.index(longest)] if longest else []
        assert [one["sample"] for one in mine if one["selected"]] == expected
        for one in mine:
            assert one["score"] == (len(one["response"]) or None)
            assert one["duplicate"] == (one["response"] in several[: one["sample"]])


def test_a_summary_counts_what_there_is() -> None:
    scored = select(samples([["a", "ccc", "a"], ["", "", ""], ["bb", "BB", ""]]), by_length)
    assert summarise(scored) == {
        "prompts": 3,
        "samples": 9,
        "mean_reward": pytest.approx((1 + 3 + 1 + 2 + 2) / 5),
        "mean_reward_of_best": pytest.approx((3 + 2) / 2),
        "duplicates": pytest.approx(3 / 9),
        "empty": pytest.approx(4 / 9),
        "unfinished": pytest.approx(1 / 9),
        "mean_tokens": pytest.approx((9 + 9) / 9),
        "prompts_without_answer": 1,
    }


def test_nothing_but_empty_answers_has_no_reward() -> None:
    summary = summarise(select(samples([["", "", ""]]), by_length))
    assert summary["mean_reward"] is None
    assert summary["prompts_without_answer"] == 1


def test_scores_must_be_finite() -> None:
    with pytest.raises(UserError, match="prompt 1 are not all finite"):
        select(samples([["a"], ["bb"]]), lambda _, texts: [float("nan" if "bb" in texts else 0)])
