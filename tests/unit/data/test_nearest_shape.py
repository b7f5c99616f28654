"""A file in no known shape is told what the nearest shape lacks, with the words that mend it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from more_ray.config import RunConfig
from more_ray.config.reading import settings
from more_ray.data.records import Pair
from more_ray.data.sources import iter_pairs, locate
from more_ray.errors import DataError

Q = {"prompt": "Name a fruit."}
TWO = {"response_a": "An apple.", "response_b": "A stone."}


def pairs(folder: Path, record: dict[str, Any], columns: Any) -> list[Any]:
    (folder / "a.train.jsonl").write_text(json.dumps(record) + "\n")
    data: dict[str, Any] = {"data.root": str(folder), "data.columns": columns}
    (source,) = locate(settings(RunConfig, None, data).data)
    return list(iter_pairs(source, "train"))


def said(folder: Path, record: dict[str, Any], columns: Any = None) -> str:
    with pytest.raises(DataError) as found:
        pairs(folder, record, columns or {})
    assert "\n" not in str(found.value)
    return str(found.value).rpartition("/")[2]


@pytest.mark.parametrize(
    ("record", "columns", "lacks", "remedy"),
    [
        (
            {**Q, "chosen": "An apple.", "worse": "A stone."},
            {},
            "has chosen, but no rejected",
            "{a: {chosen: chosen, rejected: COLUMN}} names another",
        ),
        (
            {**Q, "chosen": "An apple.", "worse": "A stone."},
            {"a": {"rejected": "worse"}},
            "has chosen, but no rejected",
            "{a: {chosen: chosen, rejected: worse}} names another",
        ),
        (
            {**Q, **TWO, "best": "a"},
            {},
            "has response_a, response_b, but no better_response_id",
            "{a: {answers: [response_a, response_b], label: COLUMN}} names another",
        ),
        (
            {**Q, **TWO, "by": -2},
            {"a": {"strength": "by"}},
            "has response_a, response_b, but no better_response_id",
            "{a: {answers: [response_a, response_b], strength: by}} names another",
        ),
        (
            {**Q, "responses": ["An apple.", "A stone."], "best": [2, 1]},
            {},
            "has responses, but no scores",
            "{a: {answers: responses, scores: COLUMN}} names another",
        ),
        (
            {"best": "An apple.", "response": "An apple."},
            {},
            "has response, but no prompt",
            "{a: {chosen: response, prompt: COLUMN}} names another",
        ),
    ],
)
def test_what_is_missing_and_the_columns_that_mend_it(
    tmp_path: Path, record: dict[str, Any], columns: Any, lacks: str, remedy: str
) -> None:
    message = said(tmp_path, record, columns)
    assert message == (
        f"a.train.jsonl: {lacks} (columns {', '.join(sorted(record))}); data.columns={remedy}"
    )
    mapping = remedy.removesuffix(" names another")
    other = next(name for name in ("worse", "best", "by") if name in record)
    (one,) = pairs(tmp_path, record, yaml.safe_load(mapping.replace("COLUMN", other)))
    assert isinstance(one, Pair)
    assert one.chosen == "An apple."


def test_what_columns_cannot_say(tmp_path: Path) -> None:
    history = {"history": "Name a fruit.", "human_ref_A": "An apple.", "human_ref_B": "A stone."}
    assert said(tmp_path, history) == (
        "a.train.jsonl: has history, human_ref_A, human_ref_B, but no labels (columns history, "
        "human_ref_A, human_ref_B)"
    )


@pytest.mark.parametrize(
    "record", [{}, {"a": 1}, Q, {"question": "x", "answer": "y"}, {"text": ""}]
)
def test_without_a_near_shape_the_shapes_are_listed(tmp_path: Path, record: dict[str, Any]) -> None:
    found = re.escape(", ".join(sorted(record)) or "(none)")
    listed = f"no preference data in columns {found}; allowed: chosen, rejected; responses, scores"
    assert re.search(listed, said(tmp_path, record))
