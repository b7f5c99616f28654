"""Readers of test sets: invented records in the shape of each, and what is wrong with others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import write_lines

from more_ray.data.benchmarks import (
    Benchmark,
    Question,
    read_benchmark,
    read_benchmarks,
    without_lone_ties,
)
from more_ray.data.rejects import Reason
from more_ray.errors import DataError

REAL = os.environ.get("MORE_RAY_DATA", "")
"""A folder with real test sets in `benchmarks`."""
with_real_files = pytest.mark.skipif(not REAL, reason="MORE_RAY_DATA names no folder of test sets")

PROMPT = "Name a fruit."
REWARD_BENCH = {
    "id": "17",
    "prompt": PROMPT,
    "chosen": ["An apple. "],
    "rejected": ["A stone.", "A car.", "A cat."],
    "num_correct": 1,
    "total_completions": 4,
    "subset": "Focus",
}
TIED = REWARD_BENCH | {"id": "tied:3", "chosen": ["A pear.", "A fig."], "subset": "Ties"}
REFERENCE = REWARD_BENCH | {"id": "ref:3", "prompt": "Name a pome.", "subset": "Ties"}
RM_BENCH = {
    "id": "chat/1",
    "prompt": PROMPT,
    "chosen": ["Apple.", "An apple it is.", "**An apple** it is."],
    "rejected": ["Stone.", "A stone it is.", "**A stone** it is."],
    "domain": "safety-refuse",
}
JUDGE_BENCH = {
    "pair_id": "a1",
    "source": "livebench-math",
    "question": PROMPT,
    "response_A": "A stone.",
    "response_B": "An apple.",
    "label": "B>A",
}
HHH = {
    "input": PROMPT,
    "targets": {"choices": ["A stone.", "An apple."], "labels": [0, 1]},
    "subset": "honest",
}
PAIR = {"prompt": PROMPT, "chosen": "An apple.", "rejected": "A stone.", "subset": "natural"}


def read(folder: Path, *records: Any) -> Benchmark:
    write_lines(folder / "mine.jsonl", list(records))
    return read_benchmark("mine", str(folder / "mine.jsonl"))


def content(question: Question) -> tuple[str, Any, Any, str | None]:
    assert question.prompt == ({"role": "user", "content": PROMPT},)
    return question.id, question.right, question.wrong, question.subset


@pytest.mark.parametrize(
    ("record", "read_as", "kind", "expected"),
    [
        (
            REWARD_BENCH,
            *("RewardBench 2", "best_of_n"),
            ("17", ("An apple.",), ("A stone.", "A car.", "A cat."), "Focus"),
        ),
        (
            RM_BENCH,
            *("RM-Bench", "rm_bench"),
            ("chat/1", tuple(RM_BENCH["chosen"]), tuple(RM_BENCH["rejected"]), "safety"),
        ),
        (JUDGE_BENCH, "JudgeBench", "pairs", ("a1", ("An apple.",), ("A stone.",), "math")),
        (
            JUDGE_BENCH | {"label": "A>B", "source": "mmlu-pro-law"},
            *("JudgeBench", "pairs"),
            ("a1", ("A stone.",), ("An apple.",), "knowledge"),
        ),
        (
            JUDGE_BENCH | {"source": "another"},
            *("JudgeBench", "pairs"),
            ("a1", ("An apple.",), ("A stone.",), "another"),
        ),
        (
            {"input": PROMPT, "output_1": "A stone.", "output_2": "An apple.", "label": 2},
            *("LLMBar", "pairs"),
            ("0", ("An apple.",), ("A stone.",), None),
        ),
        (HHH, "HHH", "pairs", ("0", ("An apple.",), ("A stone.",), "honest")),
        (PAIR, "pairs", "pairs", ("0", ("An apple.",), ("A stone.",), "natural")),
        (
            {
                "chosen": f"Human: {PROMPT}\n\nAssistant: An apple.",
                "rejected": f"Human: {PROMPT}\n\nAssistant: A stone.",
            },
            *("pairs", "pairs"),
            ("0", ("An apple.",), ("A stone.",), None),
        ),
    ],
)
def test_each_shape(record: Any, read_as: str, kind: str, expected: Any, tmp_path: Path) -> None:
    found = read(tmp_path, record)
    assert (found.read_as, found.kind, found.rejects) == (read_as, kind, [])
    assert [content(question) for question in found.questions] == [expected]


def test_parquet_and_json_say_the_same(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([REWARD_BENCH, TIED]), tmp_path / "a.parquet")
    (tmp_path / "b.json").write_text(json.dumps([REWARD_BENCH, TIED]))
    first, second = read_benchmarks([str(tmp_path / "a.parquet"), f"other={tmp_path / 'b.json'}"])
    assert (first.name, second.name) == ("a", "other")
    assert first.questions == second.questions


def test_the_same_prompt_is_one_group_and_so_are_the_halves_of_a_tie(tmp_path: Path) -> None:
    pairs = read(tmp_path, PAIR, PAIR | {"rejected": "A car."}, PAIR | {"prompt": "Name a tree."})
    groups = [question.group for question in pairs.questions]
    assert groups[0] == groups[1] != groups[2]
    ties = read(tmp_path, TIED, REFERENCE).questions
    assert [question.group for question in ties] == ["3", "3"]
    assert without_lone_ties(ties) == (ties, [])


@pytest.mark.parametrize("records", [[TIED], [REFERENCE], [TIED, REFERENCE, TIED]])
def test_a_tie_without_its_other_half_is_left_out(records: list[Any], tmp_path: Path) -> None:
    found = read(tmp_path, REWARD_BENCH, *records)
    kept, lone = without_lone_ties(found.questions)
    assert [question.id for question in kept] == ["17"]
    assert {reject.reason for reject in lone} == {Reason.MISSING}
    assert len(lone) == len(records)


@pytest.mark.parametrize(
    ("good", "bad", "detail"),
    [
        (REWARD_BENCH, {"chosen": []}, "empty field: no right answer"),
        (REWARD_BENCH, {"rejected": ["A stone.", " "]}, "empty field: no wrong answer"),
        (REWARD_BENCH, {"rejected": "A stone."}, "wrong type: wrong must be a list, got str"),
        (REWARD_BENCH, {"prompt": None}, "wrong type: prompt must be text or a list of messages"),
        (REWARD_BENCH, {"subset": "Ties"}, "wrong type: id 17, allowed: tied:N or ref:N"),
        (RM_BENCH, {"chosen": ["one", "two"]}, "wrong type: three answers of each side"),
        (RM_BENCH, {"domain": 3}, "wrong type: domain must be text, got int"),
        (JUDGE_BENCH, {"label": "A=B"}, "wrong type: label A=B, allowed: A>B or B>A"),
        (JUDGE_BENCH, {"response_A": None}, "wrong type: a wrong answer must be text"),
        (HHH, {"targets": None}, "wrong type: targets must be choices and labels, got NoneType"),
        (HHH, {"targets": {"choices": ["a"], "labels": None}}, "wrong type: labels must be a list"),
        (PAIR, {"rejected": None}, "empty field: rejected has no answer"),
        (PAIR, {"chosen": "A stone."}, "chosen equals rejected"),
    ],
)
def test_what_is_wrong_with_a_record(
    good: Any, bad: dict[str, Any], detail: str, tmp_path: Path
) -> None:
    found = read(tmp_path, good, good | bad)
    assert len(found.questions) == 1
    (reject,) = found.rejects
    assert f"{reject.reason.value}: {reject.detail}".startswith(detail)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    short = {key: value for key, value in JUDGE_BENCH.items() if key != "response_B"}
    (reject,) = read(tmp_path, JUDGE_BENCH, short).rejects
    assert (reject.reason, reject.detail) == (Reason.MISSING, "response_B")


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["A>B", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([REWARD_BENCH, RM_BENCH, JUDGE_BENCH, HHH]).flatmap(
        lambda record: st.tuples(
            st.just(record), st.dictionaries(st.sampled_from(sorted(record)), VALUE, max_size=3)
        )
    )
)
def test_a_record_of_any_values_is_read_or_rejected(tmp_path: Path, drawn: Any) -> None:
    good, changes = drawn
    found = read(tmp_path, good, good | changes)
    assert len(found.questions) + len(found.rejects) == 2
    assert all("\n" not in reject.detail for reject in found.rejects)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["nothing.jsonl"], "nothing.jsonl: no such file"),
        (["some.txt"], "some.txt: unknown kind of file; allowed: .parquet"),
        (["x=a.jsonl", "x=b.jsonl"], "benchmark: x is given twice"),
    ],
)
def test_a_file_that_cannot_be_read(entries: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_benchmarks(entries)
    assert "\n" not in str(error.value)


def test_a_file_without_preferences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no preference data in columns a"):
        read(tmp_path, {"a": 1})


def test_a_folder_with_an_equals_sign_is_no_name(tmp_path: Path) -> None:
    """JudgeBench's own files are called so."""
    file = tmp_path / "dataset=judgebench,response_model=x.jsonl"
    write_lines(file, [JUDGE_BENCH])
    (found,) = read_benchmarks([str(file)])
    assert (found.name, len(found.questions)) == ("dataset=judgebench,response_model=x", 1)


@with_real_files
@pytest.mark.parametrize(
    ("name", "subsets"),
    [
        ("llmbar", {"natural": 100, "neighbor": 134, "gptinst": 92, "gptout": 47, "manual": 46}),
        ("hhh", {"harmless": 58, "helpful": 59, "honest": 61, "other": 43}),
    ],
)
def test_real_test_sets_lose_no_record(name: str, subsets: dict[str, int]) -> None:
    (found,) = read_benchmarks([f"{REAL}/benchmarks/{name}.test.parquet"])
    assert (found.name, found.read_as, found.rejects) == (name, "pairs", [])
    counts = [question.subset for question in found.questions]
    assert {subset: counts.count(subset) for subset in subsets} == subsets
    assert len(counts) == sum(subsets.values())
