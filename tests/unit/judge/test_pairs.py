from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from more_ray.errors import UserError
from more_ray.judge.pairs import read_pairs


def write(path: Path, rows: list[int], **changes: Any) -> str:
    """Answers named after the file; a message's keys in another order, and a column more."""
    columns = {
        "score": [0.5] * len(rows),
        "row": rows,
        "prompt": [[{"content": f"question {row}", "role": "user"}] for row in rows],
        "response": [f"{path.stem} {row}" for row in rows],
    }
    columns.update(changes)
    pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), path)
    return str(path)


def test_rows_are_matched_by_their_number(tmp_path: Path) -> None:
    ours, theirs = write(tmp_path / "ours", [2, 0, 1]), write(tmp_path / "theirs", [0, 1, 2])
    pairs, unmatched = read_pairs(ours, theirs, None, seed=0)
    assert unmatched == 0
    assert [(pair.row, pair.response, pair.other) for pair in pairs] == [
        (row, f"ours {row}", f"theirs {row}") for row in range(3)
    ]
    assert pairs[1].prompt == [{"role": "user", "content": "question 1"}]


def test_a_larger_sample_contains_the_smaller(tmp_path: Path) -> None:
    file = write(tmp_path / "one", list(range(50)))
    small, large = ({pair.row for pair in read_pairs(file, file, n, seed=3)[0]} for n in (5, 20))
    assert (len(small), len(large)) == (5, 20)
    assert small < large
    assert small != {pair.row for pair in read_pairs(file, file, 5, seed=4)[0]}


def test_rows_without_an_answer_in_one_file_are_left_out_and_counted(tmp_path: Path) -> None:
    ours, theirs = write(tmp_path / "ours", [0, 1, 4]), write(tmp_path / "theirs", [1, 2, 3, 4])
    pairs, unmatched = read_pairs(ours, theirs, None, seed=0)
    assert [pair.row for pair in pairs] == [1, 4]
    assert unmatched == 3


def test_a_prompt_that_is_none(tmp_path: Path) -> None:
    prompt = [[{"role": "tool", "content": "?"}]]
    file = write(tmp_path / "one", [0], prompt=prompt)
    with pytest.raises(UserError, match="row 0: "):
        read_pairs(file, file, None, seed=0)


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([3, 4, 5], {}, "do not match: no row is in both"),
        ([0, 1, 1], {}, "a row occurs twice"),
        ([], {}, "no rows"),
        ([0, 1, 2], {"response": ["a", None, "b"]}, "response is null somewhere"),
        ([0, 1, 2], {"response": None}, "is allowed"),
        ([0, 1, 2], {"prompt": ["a", "b", "c"]}, "prompt (a list of messages"),
        (
            [0, 1, 2],
            {"prompt": [[{"role": "user", "content": "?"}]] * 3},
            "do not match: row 0 has two prompts",
        ),
    ],
)
def test_files_that_do_not_match_end_in_one_line(
    tmp_path: Path, rows: list[int], changes: dict[str, Any], message: str
) -> None:
    ours, theirs = write(tmp_path / "ours", [0, 1, 2]), write(tmp_path / "other", rows, **changes)
    with pytest.raises(UserError) as error:
        read_pairs(ours, theirs, None, seed=0)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_not_parquet(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours", [0])
    with pytest.raises(UserError, match="no such file"):
        read_pairs(ours, str(tmp_path / "none"), None, seed=0)
    (tmp_path / "text").write_text("row,prompt")
    with pytest.raises(UserError, match="a Parquet file with the columns row"):
        read_pairs(ours, str(tmp_path / "text"), None, seed=0)
