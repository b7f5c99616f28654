"""Prompts out of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from more_ray.errors import DataError
from more_ray.sample.prompts import read_prompts

PROMPTS: list[Any] = [
    "What now?",
    "Human: Hi\n\nAssistant: Hello\n\nHuman: And now?\n\nAssistant:",
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": " Why? "}],
]
EXPECTED = [
    ({"role": "user", "content": "What now?"},),
    (
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "And now?"},
    ),
    ({"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}),
]


def write(path: Path, prompts: list[Any]) -> str:
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    return str(path)


def test_every_form_of_a_prompt_in_order(tmp_path: Path) -> None:
    uri = write(tmp_path / "prompts.jsonl", PROMPTS)
    assert read_prompts(uri) == EXPECTED
    assert read_prompts(uri, limit=2) == EXPECTED[:2]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    pq.write_table(pa.table({"prompt": PROMPTS[:2], "other": [1, 2]}), path)
    assert read_prompts(path.as_uri()) == EXPECTED[:2]
    pq.write_table(pa.table({"prompt": PROMPTS[2:]}), path)
    assert read_prompts(str(path)) == EXPECTED[2:]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": ""}', r"jsonl:2: empty field: prompt has no turn"),
        ('{"prompt": "Human: Hi\\n\\nAssistant: Ho"}', r"jsonl:2: .* it ends with assistant"),
        ('{"prompt": 3}', r"jsonl:2: wrong type: prompt must be text or a list of messages"),
        ('{"text": "Hi"}', r"jsonl:2: no column prompt; there are text"),
        ("{", r"jsonl:2: corrupt line"),
    ],
)
def test_an_unusable_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "prompts.jsonl"
    write(path, ["What now?"])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=message):
        read_prompts(str(path))


def test_no_file_and_no_prompts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_prompts(str(tmp_path / "prompts.jsonl"))
    with pytest.raises(DataError, match="no prompts"):
        read_prompts(write(tmp_path / "prompts.jsonl", []))
