"""Draws the figures of the README and the documentation, each for light and for dark pages:

python docs/figures/make_figures.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from method_figure import draw

from more_ray.metrics.shown_names import shown_name
from more_ray.report.drawing import COLOURS, INK, LINE, colour, panels, svg

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "jobs/benchmarks/results"
PALETTES = {
    "light": {"ink": "#1b1f24", "quiet": "#57606a", "line": "#c8ced6", "panel": "#f5f7f9"},
    "dark": {"ink": "#e6e9ec", "quiet": "#9aa4ae", "line": "#4a525b", "panel": "#1e2327"},
}
BRIGHTER = dict(zip(COLOURS, ("#3aa0e0", "#ff8533", "#1fc596"), strict=False))
"""Of the first colours, on dark pages."""
ASKED, LEFT_OUT = "people of the five sources", "people left out"
DRIFT = shown_name("drift")
ROWS = (
    (ASKED, shown_name("proportional"), "proportional", "proportional + T"),
    (ASKED, shown_name("more"), "more, by steps", "more, by steps + T"),
    (ASKED, "Top", "single", "single + T"),
    (ASKED, f"{DRIFT}, own head", "drift", "drift + T"),
    (ASKED, f"{DRIFT}, shared head", "drift, shared head", "drift + T, shared head"),
    (LEFT_OUT, shown_name("proportional"), "proportional, left out", "proportional + T, left out"),
    (LEFT_OUT, shown_name("more"), "more, by steps, left out", "more, by steps + T, left out"),
    (LEFT_OUT, DRIFT, "drift, left out", "drift, left out, unknown"),
)
"""Of whom, by which name, and the schemes in the file: as trained, and calibrated."""
COIN = 0.693
LINES = (
    (shown_name("proportional"), "proportional", "o-"),
    (shown_name("more"), "more, by steps", "s-"),
    (f"{DRIFT}, own head", "drift + T", "D-"),
    ("Top", "single", "^--"),
)
"""Of ECE against K: names, schemes in the file, and marks."""
COMPARED = (
    "Real preferences of five sources, 12 blocks of SmolLM2-135M, means over sources and ten "
    "samples of the training pairs. NLL with 95% intervals; ECE with the range of the ten samples."
)


SOURCES = (
    "ECE against the number of sources that heads on 12 frozen blocks of SmolLM2-135M learn from, "
    "means over sources and ten samples of the training pairs, with the range of the samples."
)


SIZES = (
    "Heads on the first blocks of SmolLM2-135M by the number of training pairs: means over five "
    "sources and ten samples of the prompts. 95% intervals (largest trunk) are over samples and "
    "test pairs."
)
OF_SIZES = (
    (f"{shown_name('proportional')} + temperatures", "proportional + T"),
    (f"{DRIFT}, own head", "drift + T"),
)
"""Names, and schemes in the file."""


def rows_of(name: str) -> list[dict[str, Any]]:
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def heads_compared() -> str:
    """NLL and ECE of each scheme, from the recorded results."""
    found = {row["scheme"]: row for row in rows_of("heads_compared-12")}
    places = [place + (1 if row[0] == LEFT_OUT else 0) for place, row in enumerate(ROWS)]
    with panels(4.1, 1, 2, width=8.0, sharey=True) as (canvas, (left, right)):
        for place, (_, _, *schemes) in zip(places, ROWS, strict=True):
            for number, scheme in enumerate(schemes):
                row, y = found[scheme], place + 0.18 * (2 * number - 1)
                _mark(left, y, number, row["nll"], row["nll, 95%"])
                _mark(right, y, number, row["ece"], row["ece of the draws"])
                right.plot(row["floor"], y, "|", color=INK, markersize=9)
        for group in (ASKED, LEFT_OUT):
            first = places[[row[0] for row in ROWS].index(group)]
            left.text(
                -0.03, first - 0.8, group, transform=left.get_yaxis_transform(), ha="right",
                va="center", weight="bold",
            )  # fmt: skip
        left.axvline(COIN, color=INK, linestyle="--", linewidth=1)
        left.annotate("a coin", (COIN, -0.8), (4, 0), textcoords="offset points", va="center")
        left.set_yticks(places, [name for _, name, *_ in ROWS])
        left.set_ylim(places[-1] + 0.6, -1.2)
        left.set_xlabel("NLL (95% interval)")
        right.set_xlabel("ECE (range of the ten samples)")
        right.set_xlim(left=0)
        for axes in (left, right):
            axes.grid(axis="x")
            axes.tick_params(left=False)
        keys = (("o", colour(0)), ("s", colour(1)), ("|", INK))
        handles = [left.plot([], [], mark, color=ink)[0] for mark, ink in keys]
        labels = ("as trained", "calibrated", "floor: a perfect model by chance")
        canvas.legend(handles, labels, loc="outside upper left", ncols=3)
    return svg(canvas, COMPARED)


def ece_versus_k() -> str:
    """The paper's Figure 6, from the recorded results."""
    rows = rows_of("ece_versus_k")
    tested = dict.fromkeys(row["tested on"] for row in rows)
    with panels(3.3, 1, len(tested), width=8.0, sharey=True) as (canvas, both):
        for axes, which in zip(both, reversed(tested), strict=True):
            for number, (name, scheme, mark) in enumerate(LINES):
                mine = [row for row in rows if (row["tested on"], row["scheme"]) == (which, scheme)]
                places = [row["K"] + 0.06 * (number - 1.5) for row in mine]
                axes.plot(
                    places, [row["ece"] for row in mine], mark, color=colour(number), label=name
                )
                for place, row in zip(places, mine, strict=True):
                    axes.vlines(
                        place, *map(float, row["ece of the draws"].split(" to ")),
                        color=colour(number), linewidth=1,
                    )  # fmt: skip
            floors = [row for row in rows if (row["tested on"], row["scheme"]) == (which, "single")]
            axes.fill_between(
                [row["K"] for row in floors], [row["floor"] for row in floors],
                color=LINE, alpha=0.5, linewidth=0, label="floor: a perfect model by chance",
            )  # fmt: skip
            axes.set_xticks([row["K"] for row in floors])
            axes.set_xlabel("K, sources to learn from")
            axes.set_title(f"test pairs of {which} sources".replace("all K sources", "all K"))
            axes.grid(axis="y")
        both[0].set_ylabel("ECE (range of the ten samples)")
        both[0].set_ylim(bottom=0)
        handles, labels = both[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper left", ncols=5)
    return svg(canvas, SOURCES)


def sizes() -> str:
    """Accuracy and NLL against training pairs and blocks, from the recorded results."""
    rows = rows_of("data_and_model_size")
    pairs = sorted({row["pairs"] for row in rows})
    trunks = sorted({row["blocks"] for row in rows})
    with panels(3.3, 1, 2, width=8.0) as (canvas, both):
        for axes, measure in zip(both, ("accuracy", "nll"), strict=True):
            for number, (name, scheme) in enumerate(OF_SIZES):
                for blocks, mark in zip(trunks, ("^:", "s--", "o-"), strict=True):
                    mine = [
                        row for row in rows if (row["scheme"], row["blocks"]) == (scheme, blocks)
                    ]
                    values = [row[measure] for row in mine]
                    label = f"{name}, {blocks} block{'s' * (blocks > 1)}"
                    axes.plot(pairs, values, mark, color=colour(number), label=label)
                # Of the largest trunk only, or nothing could be seen.
                for row in mine:
                    ends = map(float, row[f"{measure}, 95%"].split(" to "))
                    axes.vlines(row["pairs"], *ends, color=colour(number), linewidth=1)
            axes.set_xscale("log")
            axes.set_xticks(pairs, [f"{one:,}" for one in pairs])
            axes.minorticks_off()
            axes.set_xlabel("training pairs of all five sources")
            axes.set_ylabel({"nll": "NLL"}.get(measure, measure))
            axes.grid(axis="y")
        handles, labels = both[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper left", ncols=2)
    return svg(canvas, SIZES)


def _mark(axes: Axes, y: float, number: int, value: float, ends: str) -> None:
    axes.hlines(y, *map(float, ends.split(" to ")), color=colour(number), linewidth=1.5)
    axes.plot(value, y, "os"[number], color=colour(number), markersize=5)


def as_file(figure: str, text: str, palette: dict[str, str]) -> str:
    """A figure of a page as a file of its own, with its title."""
    figure = figure.replace("currentColor", palette["ink"])
    figure = re.sub(r"var\(--line[^)]*\)", palette["line"], figure)
    figure = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", figure)
    return figure.replace(">", f">\n<title>{text}</title>", 1)


def main() -> None:
    """Write all figures beside this file."""
    compared, sources, of_sizes = heads_compared(), ece_versus_k(), sizes()
    for name, palette in PALETTES.items():
        figures = {
            "method": draw(palette),
            "heads-compared": as_file(compared, COMPARED, palette),
            "ece-versus-k-heads": as_file(sources, SOURCES, palette),
            "data-and-model-size": as_file(of_sizes, SIZES, palette),
        }
        for title, figure in figures.items():
            for dim, brighter in BRIGHTER.items() if name == "dark" else ():
                figure = figure.replace(dim, brighter)
            (HERE / f"{title}-{name}.svg").write_text(figure)


if __name__ == "__main__":
    main()
