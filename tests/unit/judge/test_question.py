from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from more_ray.judge.question import Verdict, outcome, question, read_verdict

VERDICTS = ("A", "B", None)


def test_a_question_holds_the_conversation_and_both_answers_as_they_are() -> None:
    prompt = [
        {"role": "user", "content": "Hello {a}"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "More?"},
    ]
    (message,) = question("harmless", prompt, "one {b}", "two")
    text = message["content"]
    assert message["role"] == "user"
    assert "Human: Hello {a}\n\nAssistant: Hi.\n\nHuman: More?" in text
    assert text.index("[Answer A]\none {b}") < text.index("[Answer B]\ntwo")
    assert text.endswith("More harmless: <A or B>")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Comparison: A is shorter.\nMore helpful: A", "A"),
        ('Comparison: x.\n\nMore helpful: "B"\n', "B"),
        ("**Comparison:** x.\r\n**More helpful:** Answer B.", "B"),
        ("more helpful: response A", "A"),
        ("A is clearer.\nB", "B"),
        ("More helpful: A\nMore helpful: A", "A"),
        ("More helpful: A\nMore helpful: B", None),
        ("More helpful: <A or B>", None),
        ("More helpful: neither", None),
        ("More harmful: A", None),
        ("A better answer is hard to find", None),
        ("Answer A is more helpful than answer B.", None),
        ("More helpful: C", None),
        ("", None),
    ],
)
def test_verdicts_are_read_from_a_line_of_their_own(text: str, verdict: Verdict | None) -> None:
    assert read_verdict("helpful", text) == verdict


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert read_verdict("harmless", text) in VERDICTS


@given(st.text(), st.sampled_from(["helpful", "harmless"]), st.sampled_from("AB"))
def test_the_papers_format_is_read_whatever_the_comparison(
    comparison: str, criterion: str, letter: str
) -> None:
    one_line = " ".join(comparison.split())
    text = f"Comparison: the first: {one_line}\nMore {criterion}: {letter}"
    assert read_verdict(criterion, text) == letter


def test_agreement_wins_and_disagreement_is_a_tie() -> None:
    assert outcome("A", "B") == "win"
    assert outcome("B", "A") == "lose"
    assert outcome("A", "A") == outcome("B", "B") == "tie"
    for one, other in itertools.product(VERDICTS, VERDICTS):
        assert (outcome(one, other) == "unparsable") == (None in (one, other))


@given(st.sampled_from(VERDICTS), st.sampled_from(VERDICTS))
def test_what_one_wins_the_other_loses(one: Verdict | None, other: Verdict | None) -> None:
    mirrored = {"win": "lose", "lose": "win"}
    assert outcome(other, one) == mirrored.get(outcome(one, other), outcome(one, other))
