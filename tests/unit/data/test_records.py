from __future__ import annotations

import json
import pickle

from hypothesis import given
from hypothesis import strategies as st

from more_ray.data.messages import LONGEST_LITERAL, from_json, parse_transcript
from more_ray.data.rejects import InvalidRecord, Reason

WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


def turns(text: str) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in parse_transcript(text)]


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_a_transcript_parses_back_into_its_turns(dialogue: list[tuple[str, str]]) -> None:
    text = "".join(f"\n\nHuman: {one}\n\nAssistant: {other}" for one, other in dialogue)
    expected = [turn for one, other in dialogue for turn in (("user", one), ("assistant", other))]
    assert turns(text) == expected


def test_forms_of_transcripts() -> None:
    assert turns("What now?") == [("user", "What now?")]
    assert turns("Human: Hi\n\nAssistant:") == [("user", "Hi")]
    assert turns("## Human:\nHi\n\n## Assistant:\nYes") == [("user", "Hi"), ("assistant", "Yes")]
    assert turns("Human: Hi\n\nHuman: there") == [("user", "Hi\n\nthere")]
    assert turns("Assistant: Hello\n\nHuman: Hi") == [("assistant", "Hello"), ("user", "Hi")]
    assert turns("A note on Human: marks") == [("user", "A note on Human: marks")]


def test_python_literals_are_read_as_far_as_memory_allows() -> None:
    assert from_json("[{'role': 'user', 'content': None}]") == [{"role": "user", "content": None}]
    long = json.dumps(["x" * LONGEST_LITERAL])
    assert from_json(long) == json.loads(long)
    literal = long.replace('"', "'")
    assert from_json(literal) == literal


def test_an_invalid_record_passes_between_processes() -> None:
    """As the reward service's handle raises it."""
    again = pickle.loads(pickle.dumps(InvalidRecord(Reason.EMPTY, "response")))
    assert (again.reason, again.detail) == (Reason.EMPTY, "response")
    assert str(again) == f"{Reason.EMPTY.value}: response"
