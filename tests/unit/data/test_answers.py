"""What the answers of a pair repeat of its prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from more_ray.data.messages import Message
from more_ray.data.records import Pair, to_pair
from more_ray.data.rejects import Reason, Reject

SYSTEM = Message(role="system", content="Be kind.")
HI = Message(role="user", content="Hi.")
HELLO = Message(role="assistant", content="Hello.")
ASK = Message(role="user", content="Name a fruit.")
MARKED = Message(role="user", content="What is\n\nHuman: for?")


def pair(prompt: Any, chosen: Any, rejected: Any, **more: Any) -> Pair | Reject:
    return to_pair(
        prompt=prompt, chosen=chosen, rejected=rejected, source="mine", where="here", **more
    )


def dialogue(*before: Message, answer: str) -> list[dict[str, Any]]:
    return [*map(dict, before), {"role": "assistant", "content": answer}]


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        ("Name a fruit.", (SYSTEM, ASK)),
        ("Hi.", (HI, HELLO, ASK)),
        (" Name a fruit.\n", (HI, HELLO, ASK)),
        ("", (ASK,)),
        ("What is\n\nHuman: for?", (MARKED,)),
        ("Human: Hi.\n\nAssistant: Hello.\n\nHuman: Name a fruit.", (HI, HELLO, ASK)),
    ],
)
def test_messages_say_more_than_the_text_of_the_prompt(
    prompt: str, turns: tuple[Message, ...], as_text: bool
) -> None:
    answers: list[Any] = [dialogue(*turns, answer=one) for one in ("An apple.", "A stone.")]
    answers = list(map(json.dumps, answers)) if as_text else answers
    expected = Pair(turns, "An apple.", "A stone.", "mine")
    assert pair(prompt, *answers) == expected
    assert pair(prompt, answers[0], "A stone.") == expected


@pytest.mark.parametrize(
    ("prompt", "other"), [("Name a tree.", (ASK,)), ("Name a fruit.", (SYSTEM, ASK))]
)
def test_messages_to_another_prompt(prompt: str, other: tuple[Message, ...]) -> None:
    found = pair(prompt, dialogue(ASK, answer="An apple."), dialogue(*other, answer="A stone."))
    assert isinstance(found, Reject)
    assert found.reason is Reason.PROMPTS_DIFFER


@pytest.mark.parametrize("prompt", ["Name a fruit.", "\n\nHuman: Name a fruit.\n\nAssistant:"])
def test_a_transcript_that_repeats_the_prompt_is_its_last_turn(prompt: str) -> None:
    answers = [f"\n\nHuman: Name a fruit.\n\nAssistant: {one}" for one in ("An apple.", "A stone.")]
    assert pair(prompt, *answers) == Pair((ASK,), "An apple.", "A stone.", "mine")


@given(st.sampled_from(["Human: Hi.\n\n", "", "An apple.\n\nHuman: Name a fruit.\n\n"]))
def test_an_answer_that_only_contains_marks_stays_as_it_is(before: str) -> None:
    answer = f"{before}Assistant: An apple."
    assert pair("Name a fruit.", answer, "A stone.") == Pair((ASK,), answer, "A stone.", "mine")


def test_a_margin_changes_places_with_its_answers() -> None:
    assert pair("Name a fruit.", "A stone.", "An apple.", share=0.25, margin=-2) == Pair(
        (ASK,), "An apple.", "A stone.", "mine", margin=2, share=0.75
    )
    found = pair("Name a fruit.", "A stone.", "An apple.", share=0.25, margin=2)
    assert found == Reject(Reason.CONTRADICTION, "here", "margin 2, share 0.25")
