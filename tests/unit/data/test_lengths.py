"""What preparation counts of texts: against the pairs one by one, and from records to tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from support import write_lines

from more_ray.config import DataConfig, ModelConfig
from more_ray.data import lengths
from more_ray.data.audit_tables import length_rows, pair_rows, reject_rows
from more_ray.data.formatting import encode, render
from more_ray.data.lengths import LengthCounter
from more_ray.data.prepared import Prepared
from more_ray.data.reading import WORK_SCHEMA, ReadShard, Shard
from more_ray.data.simulated import Simulator
from more_ray.data.sources import locate
from more_ray.model.tokenizer import training_tokenizer
from more_ray.terminal import prepared_tables

COUNTS: dict[str, Any] = {
    **{"train": 1_200, "test": 30, "train_read": 1_200, "test_read": 30, "leaked": 2},
    **{"repeated": 3, "contradicted": 4, "contradicted_elsewhere": 5},
    "rejected": {"empty field": 1, "tie": 20},
}
LENGTHS = {
    **{"texts": 2_460, "median": 40, "percentile_95": 90, "cut": 246},
    **{"shared": 300, "own": 400, "compared": 1_230, "longer": 615.0},
}


def counted(pairs: list[dict[str, Any]], max_length: int, at_once: int) -> LengthCounter:
    counter = LengthCounter(max_length)
    blank = dict.fromkeys(WORK_SCHEMA.names)
    for first in range(0, len(pairs), at_once):
        rows = [blank | pair for pair in pairs[first : first + at_once]]
        counter.see(pa.Table.from_pylist(rows, WORK_SCHEMA))
    return counter


@st.composite
def a_pair(draw: st.DrawFn) -> dict[str, Any]:
    """A pair of which only lengths matter, or a single answer."""
    shared, chosen, rejected = (draw(st.integers(1, 9)) for _ in range(3))
    if draw(st.booleans()):
        rejected = 0
    lists = {"shared": [0] * shared, "chosen": [0] * chosen, "rejected": [0] * rejected}
    return {
        **lists,
        "tokens": shared + chosen + rejected,
        "uncut": draw(st.lists(st.integers(1, 40), min_size=1, max_size=2)),
        "chosen_characters": draw(st.integers(0, 3)),
        "rejected_characters": draw(st.integers(0, 3)),
    }


@settings(deadline=None)
@given(st.lists(a_pair(), min_size=1), st.integers(1, 40), st.integers(1, 5))
def test_counts_in_any_parts_are_those_of_all_pairs(
    pairs: list[dict[str, Any]], max_length: int, at_once: int
) -> None:
    found = counted(pairs, max_length, at_once).lengths()
    texts = sorted(length for pair in pairs for length in pair["uncut"])
    whole = [pair for pair in pairs if pair["rejected"]]
    signs = [pair["chosen_characters"] - pair["rejected_characters"] for pair in whole]
    assert found == {
        "texts": len(texts),
        "median": texts[-(-len(texts) * 50 // 100) - 1],
        "percentile_95": texts[-(-len(texts) * 95 // 100) - 1],
        "cut": sum(length > max_length for length in texts),
        "shared": sum(len(pair["shared"]) for pair in pairs),
        "own": sum(len(pair["chosen"]) + len(pair["rejected"]) for pair in pairs),
        "compared": len(whole),
        "longer": sum(1.0 if sign > 0 else 0.5 if sign == 0 else 0.0 for sign in signs),
    }


def test_memory_is_bounded_however_long_a_text_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "LONGEST", 50)
    answer = {"shared": [0], "chosen": [0], "rejected": [], "tokens": 2, "uncut": [2**30]}
    found = counted([answer | {"chosen_characters": 1, "rejected_characters": 0}], 8, 1).lengths()
    assert (found["texts"], found["median"], found["cut"]) == (1, 50, 1)


@pytest.mark.parametrize("chosen_only", [False, True])
def test_texts_are_measured_before_they_are_cut(tmp_path: Path, chosen_only: bool) -> None:
    """And prepared rows are as they were: they hold the texts after the cut."""
    long = "and so on " * 30
    records = [
        {"prompt": "Why?", "chosen": "Because.", "rejected": f"Since {long}why"},
        {"prompt": long, "chosen": "Yes.", "rejected": "No!!"},
    ]
    write_lines(tmp_path / "a.train.jsonl", records)
    data = DataConfig(root=str(tmp_path), max_length=32)
    tokenizer = training_tokenizer(ModelConfig(), data.max_length)
    (files,) = locate(data)
    read = ReadShard(["a"], Simulator(), tokenizer, data, chosen_only, frozenset(["a"]))
    (table,) = read({"shard": [Shard(0, "test", files)]})
    counter = LengthCounter(data.max_length)
    counter.see(table)
    found = counter.lengths()
    answers = ("chosen", "rejected")[: 1 if chosen_only else 2]
    texts = [
        render(tokenizer, [{"role": "user", "content": record["prompt"].strip()}], record[answer])
        for record in records
        for answer in answers
    ]
    uncut = [len(tokenizer(text)["input_ids"]) for text in texts]
    assert found["texts"] == len(texts)
    assert found["percentile_95"] == max(uncut) > data.max_length
    assert found["cut"] == sum(length > data.max_length for length in uncut)
    assert found["shared"] + found["own"] == sum(table["tokens"].to_pylist())
    kept = [row["shared"] + row[name] for row in table.to_pylist() for name in answers]
    assert kept == encode(tokenizer, texts, data.max_length)
    assert (found["compared"], found["longer"]) == ((0, 0.0) if chosen_only else (2, 0.5))


def test_rows_say_what_was_counted() -> None:
    alone = {**COUNTS, "lengths": {**LENGTHS, "compared": 0, "longer": 0.0}}
    counts = {"a": {**COUNTS, "lengths": LENGTHS}, "alone": alone, "earlier": COUNTS}
    assert pair_rows(counts)[0] == {
        **{"source": "a", "train": 1_200, "test": 30, "rejected": 21, "leaked": 2, "twice": 3},
        **{"contradicted": 4, "by others": 5},
    }
    cells = {"source": "a", "texts": 2_460, "median": 40, "95%": 90, "cut": "10.0%"}
    cells |= {"packed": "30.0%", "longer one": "0.500 (0.472-0.528)"}
    without = cells | {"source": "alone", "packed": "-", "longer one": "-"}
    assert length_rows(counts) == [cells, without]
    assert reject_rows({"a": COUNTS}) == [
        {"source": "a", "rejected because": "tie", "records": 20},
        {"source": "a", "rejected because": "empty field", "records": 1},
    ]


def test_the_audit_fits_a_terminal(tmp_path: Path) -> None:
    counts: Any = {
        "summarize": {**COUNTS, "lengths": LENGTHS, "unread": ["annotator"]},
        "webgpt": {**COUNTS, "rejected": {}},
    }
    manifest: Any = {"sources": counts}
    console = Console(width=100, record=True)
    console.print(*prepared_tables(Prepared(str(tmp_path), manifest)))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    rows = [line.split() for line in text.splitlines()]
    assert ["summarize", "1,200", "30", "21", "2", "3", "4", "5"] in rows
    assert ["summarize", "2,460", "40", "90", "10.0%", "30.0%", "0.500", "(0.472-0.528)"] in rows
    assert ["summarize", "tie", "20"] in rows
    assert ["webgpt", "1,200", "30", "0", "2", "3", "4", "5"] in rows
    assert "Columns of summarize that are not read: annotator" in text


def test_an_earlier_manifest_has_a_table_of_pairs_only(tmp_path: Path) -> None:
    manifest: Any = {"sources": {"a": {**COUNTS, "rejected": {}}}}
    assert len(list(prepared_tables(Prepared(str(tmp_path), manifest)))) == 1
