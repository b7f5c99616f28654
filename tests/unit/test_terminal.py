"""Tables and lines of the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from more_ray import bars
from more_ray.metrics.measures import MEASURES
from more_ray.terminal import matrix_table


def cells(width: int, *tables: Any) -> list[list[str]]:
    console = Console(width=width, file=io.StringIO())
    console.print(*tables)
    return [line.split() for line in console.file.getvalue().splitlines()]


def test_a_column_is_of_one_source_whatever_order_evaluations_have() -> None:
    def evaluation(**accuracy: float) -> dict[str, Any]:
        of_all = {"accuracy": 0.5, "accuracy_ci": [0.4, 0.6]}
        return {"sources": {name: {"accuracy": one} for name, one in accuracy.items()},
                "mean": of_all}  # fmt: skip

    named = {"first": evaluation(a=0.1, b=0.9), "second": evaluation(b=0.8, a=0.2)}
    rows = cells(100, matrix_table(named, MEASURES["accuracy"]))  # type: ignore[arg-type]
    assert ["first", "0.100", "0.900", "0.500", "0.400-0.600"] in rows
    assert ["second", "0.200", "0.800", "0.500", "0.400-0.600"] in rows


@pytest.mark.parametrize("name", ["run[v2]", "[/x]", "[bold]", "a[red]b"])
def test_names_with_brackets_are_shown_as_they_are(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bars.console.print(f"Results in {name}")
    assert capsys.readouterr().out.strip() == f"Results in {name}"
    with bars.RunProgress(name) as progress:
        progress.phase(f"writing {name}")
        progress.note(f"goes on in {name}")
    shown = capsys.readouterr().out
    assert f"goes on in {name}" in shown
