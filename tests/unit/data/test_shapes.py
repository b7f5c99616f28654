"""What every shape that people have becomes: a small invented file each, in tests/data."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from more_ray.config import DataConfig
from more_ray.data.messages import Message
from more_ray.data.records import Pair
from more_ray.data.rejects import Reason, Reject
from more_ray.data.shapes import HowToRead, read_pairs
from more_ray.data.sources import iter_pairs, locate
from more_ray.errors import DataError

DATA = Path(__file__).parents[2] / "data"
APPLE, STONE, PEAR = "An apple.", "A stone.", "A pear."


def said(*turns: str) -> tuple[Message, ...]:
    """Turns of user and assistant in turn."""
    roles = ("user", "assistant")
    return tuple(Message(role=roles[i % 2], content=turn) for i, turn in enumerate(turns))


FRUIT, TREE = said("Name a fruit."), said("Name a tree.")
SYSTEM = Message(role="system", content="Be kind.")
POST = "SUBREDDIT: r/food\nTITLE: Fruit\nPOST: I ate.\nTL;DR:"
CALL = {"id": "1", "type": "function", "function": {"name": "fruits", "arguments": "{}"}}


def pair(chosen: str = APPLE, rejected: str = STONE, **fields: Any) -> Pair:
    return Pair(**{"prompt": FRUIT, "source": "mine", **fields}, chosen=chosen, rejected=rejected)


def tie(chosen: str = STONE, rejected: str = APPLE, **fields: Any) -> Pair:
    return pair(chosen, rejected, share=0.5, **fields)


BECAME: dict[str, list[Pair | tuple[Reason, str]]] = {
    "explicit.jsonl": [pair(margin=0.5), pair()],
    "transcripts.jsonl": [pair(prompt=said("Hi.", "Hello.", "Name a fruit."))],
    "binarized.jsonl": [
        pair(margin=2.5),
        tie(APPLE, STONE, margin=0.0),
        (Reason.CONTRADICTION, "5 and 6"),
    ],
    "orca.jsonl": [pair(prompt=(SYSTEM, *FRUIT))],
    "history.jsonl": [pair(prompt=(SYSTEM, *said("Hi.", "Hello.", "Name a fruit.")))],
    "alpaca_ranked.jsonl": [
        pair(prompt=said("Name it.\n\nRed, on trees.")),
        pair(rejected=""),
    ],
    "alpaca.jsonl": [pair(prompt=said("Name it.\n\nRed, on trees."))],
    "sharegpt.jsonl": [pair(prompt=(SYSTEM, *FRUIT))],
    "json_text.csv": [pair(margin=1.0)],
    "scored.jsonl": [pair(margin=3.0), pair(PEAR, margin=3.0), tie(APPLE, PEAR, margin=0.0)],
    "ranked.jsonl": [pair(), pair(PEAR), pair(rejected=PEAR)],
    "completions.jsonl": [pair(margin=5.5)],
    "answers.jsonl": [pair()],
    "several_chosen.jsonl": [pair(), pair(PEAR)],
    "attributes.jsonl": [
        pair(margin=3.0),
        tie("An oak.", "A fork.", prompt=TREE, margin=0.0),
        (Reason.WRONG_TYPE, "scores are needed for two answers or more"),
    ],
    "strength.jsonl": [pair(margin=3.0), tie(margin=0.0), pair(margin=1.0)],
    "two_labels.jsonl": [pair()],
    "stack_exchange.jsonl": [pair(margin=2.5), pair(margin=2.5)],
    "arena.jsonl": [
        pair(),
        tie(),
        tie(),
        (
            Reason.WRONG_TYPE,
            "label 'model_c'; allowed: conversation_a, conversation_b, 0, 1, tie",
        ),
    ],
    "winner.jsonl": [
        pair(),
        pair(),
        (Reason.WRONG_TYPE, "label 0; allowed: response_1, response_2, tie"),
    ],
    "probability.jsonl": [pair(share=0.75), tie()],
    "votes.jsonl": [
        pair(share=0.75),
        tie(APPLE, STONE),
        (Reason.WRONG_TYPE, "votes must be 0 or more, and some above 0"),
    ],
    "tools.jsonl": [
        pair(
            prompt=(
                *FRUIT,
                Message(role="assistant", content="", tool_calls=[CALL]),
                Message(role="tool", content="apple", tool_call_id="1"),
            )
        ),
        (Reason.TOOLS, "an answer that calls a tool; allowed: a text"),
    ],
    "parts.jsonl": [
        pair(),
        (Reason.PARTS, "prompt: content: 'image'; allowed: parts of type text"),
    ],
    "subsets.jsonl": [pair(subset="easy")],
    "webgpt.jsonl": [pair(margin=1.0)],
    "summaries.jsonl": [pair(prompt=said(POST))],
    "text_score.jsonl": [pair(margin=1.0)],
    "trees.jsonl": [pair(), pair(rejected=PEAR), tie(STONE, PEAR)],
}

RANKED = ("scored.jsonl", "ranked.jsonl", "several_chosen.jsonl", "trees.jsonl")
"""More than two answers to a prompt."""

MAPPED: dict[str, tuple[dict[str, str | list[str]], list[Pair]]] = {
    "mapped_nested.jsonl": (
        {
            "prompt": "task.ask",
            "system": "task.rules",
            "answers": "out.*.txt",
            "label": "verdict.best",
            "margin": "verdict.by",
            "weight": "used",
            "subset": "kind",
        },
        [pair(prompt=(SYSTEM, *FRUIT), margin=0.75, weight=2.0, subset="easy")],
    ),
    "mapped_votes.csv": (
        {"prompt": "ask", "answers": ["left", "right"], "votes": ["for_left", "for_right"]},
        [pair(share=0.8), tie()],
    ),
    "mapped_rows.jsonl": (
        {"prompt": "ask", "answers": "reply", "scores": "stars"},
        [pair(margin=3.0), pair("An oak.", "A fork.", prompt=TREE, margin=3.0)],
    ),
    # Known shapes, of which another column counts.
    "two_labels.jsonl": ({"label": "safer_response_id"}, [pair(STONE, APPLE)]),
    "attributes.jsonl": ({"scores": "correctness"}, [pair(STONE, APPLE, margin=3.0)]),
}


def rows_of(file: str, **columns: Any) -> list[Pair | Reject]:
    config = DataConfig(sources=[f"mine={DATA / file}"], columns={"mine": columns})
    (source,) = locate(config)
    return list(iter_pairs(source, "train"))


def read(file: str, **columns: Any) -> list[Pair | tuple[Reason, str]]:
    return [
        replace(row, record=None) if isinstance(row, Pair) else (row.reason, row.detail)
        for row in rows_of(file, **columns)
    ]


def test_every_file_is_of_a_shape_that_is_tried() -> None:
    files = {file.name for file in DATA.iterdir()}
    assert len(BECAME) >= 20
    assert files == {*BECAME, *MAPPED, "annotators.jsonl"}


@pytest.mark.parametrize("file", BECAME)
def test_what_a_shape_becomes(file: str) -> None:
    assert read(file) == BECAME[file]


@pytest.mark.parametrize("file", BECAME)
def test_only_pairs_of_the_same_ranked_answers_belong_together(file: str) -> None:
    pairs = [row for row in rows_of(file) if isinstance(row, Pair)]
    for record, together in groupby(pairs, key=attrgetter("record")):
        several = list(together)
        assert (record is None) == (file not in RANKED)
        if record is not None:
            assert len(several) > 1
            assert all(pair.prompt == several[0].prompt for pair in several)


@pytest.mark.parametrize("file", MAPPED)
def test_what_columns_say(file: str) -> None:
    columns, expected = MAPPED[file]
    assert read(file, **columns)[: len(expected)] == expected


@pytest.mark.parametrize("file", [file for file in MAPPED if file.startswith("mapped")])
def test_these_are_not_read_without_their_columns(file: str) -> None:
    with pytest.raises(DataError, match="no preference data in columns"):
        read(file)


STRENGTH: dict[str, str | list[str]] = {"prompt": "context", "strength": "overall_preference"}


@pytest.mark.parametrize(
    ("records", "columns", "expected"),
    [
        pytest.param(
            [
                {"context": [dict(FRUIT[0])], "response1": STONE, "response2": APPLE}
                | {"overall_preference": strength}
                for strength in (2, 0)
            ],
            STRENGTH | columns,
            [pair(margin=2.0), tie(STONE, APPLE, margin=0.0)],
            id=f"strength of {', '.join(columns)}",
        )
        for columns in (
            {"answers": ["response1", "response2"]},
            {"chosen": "response1", "rejected": "response2"},
        )
    ]
    + [
        pytest.param(
            [
                {
                    "q": "Name a fruit.",
                    "out": {"1": {"text": STONE}, "0": {"text": APPLE}},
                    "best": 0,
                }
            ],
            {"prompt": "q", "answers": ["out.1.text", "out.0.text"], "label": "best"},
            [pair()],
            id="names inside of paths",
        ),
        pytest.param(
            [
                {"instruction": "Name a fruit.", "output": output}
                for output in (json.dumps([APPLE, STONE]), APPLE)
            ],
            {},
            [pair(), pair(rejected="")],
            id="ranked answers as JSON text",
        ),
        pytest.param(
            [{"prompt": "Name a fruit.", "chosen": json.dumps([APPLE, PEAR]), "rejected": '["B"]'}],
            {},
            [pair(rejected="B"), pair(PEAR, "B")],
            id="lists of answers as JSON text",
        ),
        pytest.param(
            [
                {"prompt": "Name a fruit.", "chosen": one, "rejected": STONE}
                for one in (APPLE, '["An apple."]')
            ],
            {},
            [pair(), pair('["An apple."]')],
            id="an answer that is a list",
        ),
    ],
)
def test_records(records: list[Any], columns: dict[str, Any], expected: list[Pair]) -> None:
    rows = ((f"row {place}", record) for place, record in enumerate(records))
    found = read_pairs(rows, "mine", "here", HowToRead(columns))
    assert [replace(row, record=None) for row in found if isinstance(row, Pair)] == expected


def test_rejects_say_where() -> None:
    (source,) = locate(DataConfig(sources=[f"mine={DATA / 'arena.jsonl'}"]))
    reject = list(iter_pairs(source, "train"))[-1]
    assert isinstance(reject, Reject)
    assert reject.where == f"{DATA / 'arena.jsonl'}:4"
