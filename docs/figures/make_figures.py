"""Draws the figures of the README and the documentation, each for light and for dark pages:

python docs/figures/make_figures.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from matplotlib.axes import Axes
from method_figure import draw

from more_ray.metrics.shown_names import shown_name
from more_ray.report.drawing import COLOURS, INK, colour, panels, svg

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "jobs/benchmarks/results/heads_compared-12.json"
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
TEXT = (
    "Real preferences of five sources, 12 blocks of SmolLM2-135M, means over sources and ten "
    "samples of the training pairs. NLL with 95% intervals; ECE with the range of the ten samples."
)


def heads_compared() -> str:
    """NLL and ECE of each scheme, from the recorded results."""
    found = {row["scheme"]: row for row in json.loads(RESULTS.read_text())["rows"]}
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
    return svg(canvas, TEXT)


def _mark(axes: Axes, y: float, number: int, value: float, ends: str) -> None:
    axes.hlines(y, *map(float, ends.split(" to ")), color=colour(number), linewidth=1.5)
    axes.plot(value, y, "os"[number], color=colour(number), markersize=5)


def as_file(figure: str, palette: dict[str, str]) -> str:
    """A figure of a page as a file of its own."""
    figure = figure.replace("currentColor", palette["ink"])
    figure = re.sub(r"var\(--line[^)]*\)", palette["line"], figure)
    figure = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", figure)
    return figure.replace(">", f">\n<title>{TEXT}</title>", 1)


def main() -> None:
    """Write all figures beside this file."""
    compared = heads_compared()
    for name, palette in PALETTES.items():
        figures = {"method": draw(palette), "heads-compared": as_file(compared, palette)}
        for title, figure in figures.items():
            for dim, brighter in BRIGHTER.items() if name == "dark" else ():
                figure = figure.replace(dim, brighter)
            (HERE / f"{title}-{name}.svg").write_text(figure)


if __name__ == "__main__":
    main()
