"""What a run says of its data and its model before it trains."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from more_ray.config import RunConfig
from more_ray.train.checks import doubts


def said(data: dict[str, Any], path: str = "ORG/NAME", **count: Any) -> list[str]:
    counts = {"leaked": 0, "train": 90, "rejected": {}} | count
    prepared: Any = SimpleNamespace(manifest={"sources": {"a": counts}}, folder="prepared/1")
    return list(doubts(RunConfig(data=data, model={"path": path}), prepared))


def test_nothing_to_say() -> None:
    assert said({"root": "FOLDER"}) == []
    assert said({}, path="tiny") == []  # the simulator's words are all that tiny knows


def test_a_forgotten_model() -> None:
    for data in ({"root": "FOLDER"}, {"sources": ["a=a.jsonl"]}):
        (line,) = said(data, path="tiny")
        assert line.startswith("model.path is tiny, whose weights are random")


def test_what_is_left_out_and_doubtful() -> None:
    rejected = {"empty field": 1_200, "corrupt line": 1}
    assert said({"root": "FOLDER"}, rejected=rejected, leaked=3, unread=["annotator"]) == [
        "a: 3 of 90 training pairs have the prompt of a test pair (data.on_leak)",
        "a: left out 1,200 empty field, 1 corrupt line (rejects.jsonl in prepared/1)",
        "a: columns that are not read: annotator",
    ]


def test_pairs_that_were_dropped_flatter_nobody() -> None:
    assert said({"on_leak": "drop"}, leaked=3) == []
    assert len(said({"on_leak": "warn"}, leaked=3)) == 1
