"""Which answer is preferred, as labels, ranks, scores and votes say it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from more_ray.data.rejects import InvalidRecord
from more_ray.data.shapes.verdicts import compare, winner

LETTERS = ("response_a", "response_b")


@pytest.mark.parametrize(
    ("label", "names", "expected"),
    [
        *[(label, LETTERS, 0) for label in ("A", "a", "model_a", "response_a", "0", 0, 0.0)],
        *[(label, LETTERS, 1) for label in ("B", " b ", "model_b", "Response_B", "1", 1, 1.0)],
        *[(label, ("response_0", "response_1"), 1) for label in (1, "1", "response_1", "b")],
        *[(label, ("response1", "response2"), 0) for label in (1, "1", "model_1", "a")],
        *[(label, ("better", "worse"), 1) for label in (1, "worse", "b")],
        *[(label, ("0", "1", "2"), 2) for label in (2, "2", "c", "model_c")],
        *[(label, LETTERS[::-1], 1) for label in ("a", "response_a", "model_a", 1)],
        ("samey", ("samey", "other"), 0),
        ("b", ("gpt_4", "claude_4"), 1),
        *[(label, LETTERS, None) for label in ("tie", "Tie", "tie (bothbad)", "both_bad", "draw")],
    ],
)
def test_labels(label: Any, names: tuple[str, ...], expected: int | None) -> None:
    assert winner(label, names) == expected


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (0, ("response_1", "response_2")),
        (2, LETTERS),
        (-1, LETTERS),
        ("model_c", LETTERS),
        ("", LETTERS),
        (True, LETTERS),
        (None, LETTERS),
        (4, ("gpt_4", "claude_4")),
        (0.5, LETTERS),
    ],
)
def test_a_label_that_names_no_answer(label: Any, names: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRecord):
        winner(label, names)


def test_the_best_of_several_is_compared_with_each_other_one() -> None:
    assert compare(["a", "b", "c"], "label", 1, ["0", "1", "2"]) == [
        {"chosen": "b", "rejected": "a"},
        {"chosen": "b", "rejected": "c"},
    ]


def test_answers_that_are_missing_are_left_out() -> None:
    names = ["0", "1", "2"]
    assert compare(["a", None, "c"], "label", 2, names) == [{"chosen": "c", "rejected": "a"}]
    assert compare(["a", None, "c"], "label", "tie", names) == [
        {"chosen": "a", "rejected": "c", "share": 0.5}
    ]
    assert compare(["a", None, "c"], "scores", [1, 2, 3], names) == [
        {"chosen": "c", "rejected": "a", "margin": 2}
    ]


def test_two_of_several_without_a_vote_tell_nothing() -> None:
    assert compare(["a", "b", "c"], "votes", [0, 3, 0], ()) == [
        {"chosen": "b", "rejected": "a", "share": 1},
        {"chosen": "b", "rejected": "c", "share": 1},
    ]
    with pytest.raises(InvalidRecord, match="some above 0"):
        compare(["a", "b", "c"], "votes", [0, 0, 0], ())


@pytest.mark.parametrize("answers", [["a"], ["a", None], [None, "b"], []])
@pytest.mark.parametrize("label", [0, 1, "tie"])
def test_a_label_of_fewer_than_two_answers(answers: list[Any], label: Any) -> None:
    with pytest.raises(InvalidRecord):
        compare(answers, "label", label, [str(place) for place in range(len(answers))])


def test_a_label_of_an_answer_that_is_missing() -> None:
    with pytest.raises(InvalidRecord, match="is missing"):
        compare(["a", None, "c"], "label", 1, ["0", "1", "2"])


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("scores", [1]),
        ("scores", [1, "high"]),
        ("scores", [1, float("inf")]),
        ("scores", [None, 1]),
        ("scores", 1),
        ("votes", [-1, 2]),
        ("votes", [0, 0]),
        ("votes", 1.5),
        ("strength", None),
        ("first", 2),
    ],
)
def test_verdicts_that_are_none(kind: str, verdict: Any) -> None:
    with pytest.raises(InvalidRecord):
        compare(["a", "b"], kind, verdict, LETTERS)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=6))
def test_every_two_answers_are_a_pair_or_a_tie(scores: list[int]) -> None:
    answers = list(range(len(scores)))
    pairs = compare(answers, "scores", scores, ())
    assert len(pairs) == len(answers) * (len(answers) - 1) // 2
    for pair in pairs:
        better, worse = scores[pair["chosen"]], scores[pair["rejected"]]
        assert pair["margin"] == better - worse >= 0
        assert (pair.get("share") == 0.5) == (better == worse)
    ranked = compare(answers, "ranks", [-score for score in scores], ())
    assert [{**pair, "margin": None} for pair in ranked] == [
        {**pair, "margin": None} for pair in pairs
    ]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_votes_are_shares_of_both(votes: list[int]) -> None:
    for pair in compare(list(range(len(votes))), "votes", votes, ()):
        mine, other = votes[pair["chosen"]], votes[pair["rejected"]]
        assert pair["share"] == mine / (mine + other) >= 0.5
