"""What the page shows of a calibration: each way to score, the drifts, the most contested pairs."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from more_ray.evaluate.files import write_scores
from more_ray.metrics.calibration import sigmoid
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import summarise
from more_ray.parquet import write_table
from more_ray.report.contested import CHARACTERS, SHOWN, WORDS
from more_ray.report.drawing import colour
from more_ray.report.models import read_models
from more_ray.report.run_figures import main_figures
from more_ray.report.run_page import render_page

NAMES = ("asked", "pair", "shared")
PAIRS = 40
DRIFTS = {
    "cosine": {
        "asked": {"asked": 1.0, "pair": -0.75, "shared": 0.25},
        "pair": {"asked": -0.75, "pair": 1.0, "shared": -0.125},
        "shared": {"asked": 0.25, "pair": -0.125, "shared": 1.0},
    },
    "size": {"asked": 0.5, "pair": 1.5, "shared": 0.75},
}


def scores(sharpness: float) -> dict[str, SourceScores]:
    result = {}
    for place, name in enumerate(NAMES):
        delta_N = sharpness * np.random.default_rng(place).normal(0.5, 1.0, PAIRS)
        length_N = np.ones(PAIRS)
        pair_N = PAIRS * place + np.arange(PAIRS)
        result[name] = SourceScores(pair_N, delta_N, np.zeros(PAIRS), length_N, length_N)
    return result


def disagreements() -> pa.Table:
    """Pair n of all is contested the more, the larger n is."""
    pair_N = np.arange(len(NAMES) * PAIRS)
    apart_N = pair_N / len(pair_N)
    shared_N = np.concatenate([part.delta_N for part in scores(0.5).values()])
    owns = {f"own.{name}": 1 - apart_N * place / 2 for place, name in enumerate(NAMES)}
    return pa.table(
        {
            "source": np.repeat(NAMES, PAIRS),
            "pair": pair_N,
            "disagreement": apart_N,
            "shared": sigmoid(shared_N),
            **owns,
        }
    )


def save(folder: Path, table: pa.Table | None, **more: Any) -> str:
    write_scores(scores(1.0), str(folder))
    ways = {
        name: summarise(scores(sharpness), "drift", None, seed=0, resamples=100)
        for name, sharpness in (
            ("own", 1.0),
            ("posterior", 0.9),
            ("shared", 0.5),
            ("left_out", 0.3),
        )
    }
    (folder / "eval.json").write_text(json.dumps(ways.pop("own") | ways | more))
    if table is not None:
        write_table(str(folder / "disagreements.parquet"), table)
    return str(folder)


def page_of(folder: str) -> str:
    return render_page(read_models([folder]))


def rows_below(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading."""
    table = re.search(rf"<h2>{re.escape(heading)}</h2>.*?</table>", page, re.S).group()
    table = re.sub(r"</?span[^>]*>", "", table)
    return [
        [html.unescape(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", table, re.S)
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(save(tmp_path_factory.mktemp("run"), disagreements(), drifts=DRIFTS))


def test_each_way_to_score_has_a_row(page: str) -> None:
    heads, *rows = rows_below(page, "By each head")
    assert heads == ["mean by", "accuracy", "ECE", "floor", "Brier", "NLL"]
    assert [row[0] for row in rows] == ["own head", "own, posterior", "shared head", "left out"]
    for row, sharpness in zip(rows, (1.0, 0.9, 0.5, 0.3), strict=True):
        nll = np.mean([np.logaddexp(0, -part.delta_N) for part in scores(sharpness).values()])
        assert row[-1] == f"{nll:.3f}"


def test_the_drifts_are_drawn_and_written(page: str) -> None:
    assert "The two that agree least: asked and pair (-0.75)" in page
    assert "Largest: pair (1.50)" in page
    figure = re.search(r"<h2>What the drifts do</h2>.*?</svg>", page, re.S).group()
    for number in ("-0.75", "0.25", "-0.12", "0.50", "1.50", "0.75"):
        assert f">{number}</text>" in figure


def test_who_disagrees_with_whom(page: str) -> None:
    """On pairs from the middle on, `shared` is on the other side; `pair` never is."""
    _, *rows = rows_below(page, "Who disagrees with whom")
    assert rows == [
        ["asked", "", "0.000", "0.500"],
        ["pair", "0.000", "", "0.500"],
        ["shared", "0.500", "0.500", ""],
    ]
    assert "most often those of asked and shared (50%), least often those of asked and pair" in page


def test_reliability_of_own_heads_and_of_the_shared_one(page: str) -> None:
    _, *rows = rows_below(page, "Reliability: is it right as often as it says?")
    counts = {"shared + drift, own heads": 0, "shared + drift, shared head": 0}
    for row in rows:
        counts[row[0]] += int(row[-1])
    assert set(counts.values()) == {len(NAMES) * PAIRS}
    surest = {name: max(float(row[2]) for row in rows if row[0] == name) for name in counts}
    assert surest["shared + drift, own heads"] > surest["shared + drift, shared head"]


def test_the_most_contested_pairs_come_first(tmp_path: Path) -> None:
    table = disagreements()
    prompts = [f"Human: number {pair} of\n\n{'many ' * WORDS}" for pair in range(len(table))]
    for part in ("shared", "chosen", "rejected"):
        table = table.append_column(f"text.{part}", [prompts])
    page = page_of(save(tmp_path, table))
    heads, *rows = rows_below(page, "What populations disagree about most")
    assert heads == ["prompt", "source", "lowest", "highest"]
    last = len(NAMES) * PAIRS - 1
    assert [row[0].split()[:3] for row in rows] == [
        ["Human:", "number", str(last - place)] for place in range(SHOWN)
    ]
    assert all(len(row[0]) <= WORDS for row in rows)
    apart = last / (last + 1)
    assert rows[0][1:] == ["shared", f"shared {1 - apart:.2f}", "asked 1.00"]
    assert f'<th scope="row">pair</th><td>{1 - apart / 2:.2f}</td>' in page


def test_pairs_without_texts_are_not_listed(page: str) -> None:
    section = page.split("<h2>What populations disagree about most</h2>")[1]
    section = section.partition("</section>")[0]
    assert "<table>" not in section
    assert "calibrate with texts=true" in section


def test_a_model_has_one_colour_in_all_figures(tmp_path: Path) -> None:
    """Also the one behind a calibrated model, whose reliability has two curves."""
    first = save(tmp_path / "first", disagreements())
    models = read_models([first, save(tmp_path / "second", None, scheme="more")])
    for figure in main_figures(models):
        if figure.title.startswith(("Accuracy", "Reliability")):
            assert colour(0) in figure.svg
            assert colour(1) in figure.svg
            assert colour(2) not in figure.svg


def test_texts_are_escaped_and_cut(tmp_path: Path) -> None:
    table = disagreements()
    long = "b" * 2 * CHARACTERS
    for part, text in (
        ("shared", f"<i>start{long}end"),
        ("chosen", f"<script>alert(1)</script>{long}end"),
        ("rejected", "no & yes"),
    ):
        table = table.append_column(f"text.{part}", [[text] * len(table)])
    texts = re.findall(r"<pre>(.*?)</pre>", page_of(save(tmp_path, table)), re.S)
    assert len(texts) == 3 * SHOWN
    shared, chosen, rejected = texts[:3]
    assert shared == f"… {'b' * (CHARACTERS - 3)}end"
    assert chosen.startswith("&lt;script&gt;alert(1)&lt;/script&gt;bbb")
    assert len(html.unescape(chosen)) == CHARACTERS + 2
    assert chosen.endswith("b …")
    assert rejected == "no &amp; yes"


def test_a_calibration_of_an_earlier_version_has_a_page(tmp_path: Path) -> None:
    page = page_of(save(tmp_path, None))
    assert "By each head" in page
    assert "What the drifts do" not in page
    assert "disagree about most" not in page
