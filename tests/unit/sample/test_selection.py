"""Which sample of each prompt is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from more_ray.calibrate.populations import ByPopulation
from more_ray.config.sample import RejectionSamplingConfig, SelectConfig
from more_ray.data.messages import Message
from more_ray.errors import UserError
from more_ray.model.heads_file import Heads, Posterior, Ridge, trained_heads, write_heads
from more_ray.sample.schemas import SAMPLE_SCHEMA
from more_ray.sample.scored import names_of
from more_ray.sample.selection import check_select, select, select_again, summarise

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


def by_length(prompt: Sequence[Message], responses: Sequence[str]) -> ByPopulation:
    """A reward with ties, which refuses what should never be asked."""
    assert prompt[0]["content"].startswith("question")
    assert "" not in responses
    assert len(set(responses)) == len(responses) > 0
    return ByPopulation((), np.array([[float(len(response)) for response in responses]]))


@given(RESPONSES)
def test_the_best_is_selected_and_nothing_lost(responses: list[list[str]]) -> None:
    given_ = samples(responses)
    scored = select(given_, by_length, SelectConfig())
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
    scored = select(
        samples([["a", "ccc", "a"], ["", "", ""], ["bb", "BB", ""]]), by_length, SelectConfig()
    )
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
    summary = summarise(select(samples([["", "", ""]]), by_length, SelectConfig()))
    assert summary["mean_reward"] is None
    assert summary["prompts_without_answer"] == 1


def test_scores_must_be_finite() -> None:
    with pytest.raises(UserError, match="prompt 1 are not all finite"):
        select(
            samples([["a"], ["bb"]]),
            lambda _, texts: ByPopulation((), np.array([[np.nan if "bb" in texts else 0.0]])),
            SelectConfig(),
        )


NAMES = ("short", "vowels")


def by_two(prompt: Sequence[Message], responses: Sequence[str]) -> ByPopulation:
    """Everybody wants length, one source the opposite, the other as many vowels as there can be."""
    length_A = np.array([float(len(response)) for response in responses])
    vowels_A = np.array([float(sum(map(response.count, "aeiou"))) for response in responses])
    reward_PA = np.stack([length_A, -length_A, vowels_A])
    return ByPopulation(NAMES, reward_PA, np.abs(reward_PA) / 4)


ANSWERS = ["aab", "b", "bcdfghjkl", "b", "", "aeb"]


@pytest.mark.parametrize(
    ("by", "caution", "expected"),
    [
        ("shared", 0, 2),
        ("source=short", 0, 1),
        ("source=vowels", 0, 0),  # the first of two that tie
        ("worst", 0, 0),
        ("shared", 5, 1),  # the longest one is the least sure
    ],
)
def test_whom_the_choice_pleases(by: str, caution: float, expected: int) -> None:
    scored = select(samples([ANSWERS, [""] * 6]), by_two, SelectConfig(by=by, caution=caution))
    assert scored["selected"].to_numpy().nonzero()[0].tolist() == [expected]
    assert names_of(scored.schema) == NAMES
    rows = scored.to_pylist()
    assert rows[0]["rewards"] == [-3, 2]
    assert rows[0]["deviations"] == [0.75, 0.75, 0.5]
    assert rows[3]["duplicate"]
    assert rows[3]["rewards"] == [-1, 0]
    assert [rows[at]["rewards"] for at in (4, 6)] == [None, None]


def test_another_choice_among_the_same_scores() -> None:
    scored = select(samples([ANSWERS, ANSWERS[::-1]]), by_two, SelectConfig())
    for choice in (SelectConfig(by="worst"), SelectConfig(by="nash", caution=0.5)):
        again = select_again(scored, choice)
        assert again.equals(select(scored.select(SAMPLE_SCHEMA.names), by_two, choice))
        assert names_of(again.schema) == NAMES


def test_a_choice_that_the_scores_do_not_allow() -> None:
    one_head = select(samples([["a", "bb"]]), by_length, SelectConfig())
    with pytest.raises(UserError, match=r"select\.by: worst given; the samples have no rewards"):
        select_again(one_head, SelectConfig(by="worst"))
    with pytest.raises(UserError, match=r"select\.caution: 1 given; the samples have no deviat"):
        select_again(one_head, SelectConfig(caution=1))


def test_what_the_model_does_not_have_is_refused_before_anything_runs(tmp_path: Path) -> None:
    def check(**choice: Any) -> None:
        reward = {"path": str(tmp_path / "model")}
        check_select(
            RejectionSamplingConfig.model_validate(
                {"prompts": "FILE", "reward": reward, "select": choice}
            )
        )

    check()
    with pytest.raises(UserError, match=r"select\.by: nash given; .* has one head"):
        check(by="nash")
    heads = Heads(np.zeros(3), np.zeros((2, 3)))
    write_heads(tmp_path / "heads.safetensors", trained_heads(NAMES, "a trunk", heads))
    check(by="nash")
    with pytest.raises(UserError, match=r"source=long given; .* has heads of short, vowels"):
        check(by="source=long")
    with pytest.raises(UserError, match=r"select\.caution: 0\.5 given; .* has no posterior"):
        check(caution=0.5)
    fitted = replace(
        trained_heads(NAMES, "a trunk", heads),
        ridge=Ridge(1, 1),
        posterior=Posterior(np.eye(3), np.stack([np.eye(3)] * 2)),
        unknown_factor=1.0,
    )
    write_heads(tmp_path / "heads.safetensors", fitted)
    check(by="source=vowels", caution=0.5)
