"""The table of benchmarks, in the terminal."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from more_ray.metrics.benchmark_rows import benchmark_notes, benchmark_rows
from more_ray.metrics.evaluation import Evaluation
from more_ray.terminal import evaluation_tables


def measures(score: float, **others: Any) -> dict[str, Any]:
    longer = {key: 0.5 for key in ("score", *others) if not key.endswith("_ci")}
    return {"n": 1_000, "score": score, "score_ci": [0.5, 0.75], "longer_answer": longer, **others}


PAIRS = {
    **measures(0.625, ece=0.04, ece_ci=[0.0, 0.06], ece_noise_floor=0.03),
    **{"read_as": "pairs", "answers": 2_000, "cut": 1_200, "rejected": {"tie": 3}},
    "subsets": {"natural": measures(0.7) | {"score_ci": None}},
}
RM_BENCH = {
    **measures(0.6, easy=0.8, easy_ci=[0.7, 0.9], normal=0.6, normal_ci=[0.5, 0.7]),
    **{"read_as": "RM-Bench", "answers": 6_000, "cut": 0, "rejected": {}},
}


def evaluation(**benchmarks: Any) -> Evaluation:
    return {"scheme": "", "step": None, "sources": {}, "mean": {}, "benchmarks": benchmarks}


def test_a_row_for_each_part_and_model() -> None:
    rows = list(benchmark_rows({"a": {"llmbar": PAIRS, "rm": RM_BENCH}, "b": {"llmbar": PAIRS}}))
    assert [(row["benchmark"], row["part"], row["model"]) for row in rows] == [
        ("llmbar", "all", "a"),
        ("llmbar", "all", "b"),
        ("llmbar", "natural", "a"),
        ("llmbar", "natural", "b"),
        ("rm", "all", "a"),
        ("rm", "easy", "a"),
        ("rm", "normal", "a"),
    ]
    assert list(rows[0].values())[3:] == [
        *("1,000", "0.625 (0.500-0.750)", "0.500", "0.040 (0.000-0.060)", "0.030")
    ]
    assert rows[2]["score"] == "0.700"
    assert rows[5]["score"] == "0.800 (0.700-0.900)"
    assert rows[5]["ECE"] == ""


def test_notes_say_how_each_file_was_read() -> None:
    notes = benchmark_notes({"a": {"llmbar": PAIRS, "rm": RM_BENCH}, "b": {"llmbar": PAIRS}})
    assert notes[1:] == [
        "llmbar: read as pairs; 1,200 of 2,000 answers lost their beginning (data.max_length); "
        "rejected: 3 tie.",
        "rm: read as RM-Bench.",
    ]


def test_the_terminal_shows_benchmarks_without_pairs() -> None:
    assert evaluation_tables({"a": {**evaluation(), "benchmarks": {}}}) == []
    (table,) = evaluation_tables({"a": evaluation(llmbar=PAIRS), "b": evaluation(rm=RM_BENCH)})
    console = Console(width=100, file=StringIO())
    console.print(table)
    text = console.file.getvalue()
    assert "llmbar" in text
    assert "0.800 (0.700-0.900)" in text
    assert "1,200 of 2,000 answers lost" in " ".join(text.split())
