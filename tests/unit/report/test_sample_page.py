"""The page and the tables about a folder of samples."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from more_ray.report.sample_page import render_page, verdict
from more_ray.terminal import choices_tables


def gain(mean: float) -> dict[str, Any]:
    return {"mean": mean, "ci": [mean - 0.1, mean + 0.1], "n": 9}


@pytest.fixture
def summary() -> dict[str, Any]:
    sources = {"ours": gain(0.5), "theirs": gain(-0.25), "others": gain(0.05)}
    row = {"shared": gain(0.4), "sources": sources, "least": gain(-0.3)}
    curves = {name: [gain(0.0), gain(0.3), one] for name, one in sources.items()}
    return {
        "prompts": 9,
        "samples": 36,
        "mean_reward": 0.1,
        "mean_reward_of_best": 0.5,
        "duplicates": 0.25,
        "empty": 0.0,
        "unfinished": 0.5,
        "mean_tokens": 12.0,
        "prompts_without_answer": 0,
        "choices": [{"by": by, "caution": 0.0, **row} for by in ("shared", "worst")],
        "best_of": {
            "by": "worst",
            "caution": 0.5,
            "n": [1, 2, 4],
            "shared": [gain(0.0), gain(0.2), gain(0.4)],
            "sources": curves,
            "least": [gain(-0.1), gain(-0.2), gain(-0.3)],
        },
    }


def test_the_page_says_who_gains_and_who_loses(summary: dict[str, Any]) -> None:
    found = verdict(summary)
    assert "Chosen by worst with caution 0.5" in found["Result"]
    assert found["Result"].endswith("better than the mean answer for ours and worse for theirs.")
    assert found["Watch"].startswith("50.0% of the answers were cut off:")
    assert found["Next"].startswith("Allow longer answers (sampling.max_new_tokens)")
    finished = verdict({**summary, "unfinished": 0.05})
    assert "Watch" not in finished
    assert finished["Next"].startswith("Choose by a rule that does not cost theirs")
    page = render_page(summary, "prompts: FILE")
    table = re.search(r"Who gains by which choice.*?</table>", page, re.S).group()
    assert re.findall(r'<th scope="row">(.*?)</th>', table) == [
        *("shared", "ours", "theirs", "others", "least")
    ]
    assert table.count('-0.25 <span class="interval">(-0.35 to -0.15)</span>') == 2
    assert re.findall(r'<th scope="col">(.*?)</th>', table) == ["shared", "worst"]
    assert "Best of n by worst with caution 0.5" in page
    assert "By theirs the mean is largest for the best of 2" in page
    assert "By shared the best" not in page
    summary["choices"][1]["caution"] = 0.5
    assert ">worst with caution 0.5</th>" in render_page(summary, "")
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)[^#]', page)


def test_one_head_and_summaries_of_earlier_versions(summary: dict[str, Any]) -> None:
    summary["choices"], summary["best_of"]["sources"] = [], {}
    page = render_page(summary, "")
    assert "Who gains" not in page
    assert "Best of n by worst" in page
    assert choices_tables(summary) == []
    del summary["choices"], summary["best_of"]
    assert "Best of n" not in render_page(summary, "")
    assert choices_tables(summary) == []


def test_the_terminal_has_room_for_all(summary: dict[str, Any]) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(*choices_tables(summary))
    shown = console.file.getvalue()
    assert "…" not in shown
    assert "caution" not in shown
    assert shown.count("+0.50 (") == 2
