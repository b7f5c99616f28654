"""How pages write numbers and tables."""

from __future__ import annotations

import re

import pytest

from more_ray.report.templates import render, turned


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.000"),
        (0.00042, "0.00042"),
        (0.6123, "0.612"),
        (208.319, "208.3"),
        (1234.5, "1,234"),
        (12, "12"),
        (None, ""),
        ("0.612 (0.590-0.634)", '0.612 <span class="interval">(0.590-0.634)</span>'),
        ("8 (8 to 8)", "8"),
        ("1.000 (1.000-1.000)", "1.000"),
        ("-1.0 (-1.0 to -0.5)", '-1.0 <span class="interval">(-1.0 to -0.5)</span>'),
        ("a < b", "a &lt; b"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    rows = [{"benchmark": "", "source": "ours", "value": value}]
    page = render("benchmarks.html.j2", title="", verdict="", rows=rows, notes=[])
    (cell,) = [line for line in page.splitlines() if '<th scope="row">ours</th>' in line]
    assert f">{shown}</td>" in cell


def test_a_table_has_the_columns_of_all_its_rows() -> None:
    rows = [{"benchmark": "", "a": 1}, {"benchmark": "", "a": 2, "b": 3}]
    page = render("benchmarks.html.j2", title="", verdict="", rows=rows, notes=[])
    assert re.findall(r'<th scope="col">(.*?)</th>', page) == ["a", "b"]
    assert page.count("<td></td>") == 1


def test_rows_become_columns() -> None:
    rows = [{"by": "us", "gain": 1, "loss": 2}, {"by": "them", "gain": 3, "loss": 4}]
    assert turned(rows, "by") == [
        {"": "gain", "us": 1, "them": 3},
        {"": "loss", "us": 2, "them": 4},
    ]
