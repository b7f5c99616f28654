"""How figures are drawn: colours, markers, and SVG that takes the page's own light or dark ink."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

Rows = list[dict[str, Any]]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f")
"""Okabe and Ito's colours, distinct for people with any colour vision; markers differ too."""
MARKERS = "osD^vPX*"
INK, LINE = "#010101", "#020202"
"""Placeholders for the page's own text and line colours, light or dark."""
WIDTH = 5.2  # inches: text stays readable where a phone shows it at 340 pixels
CHARACTERS = 66
"""Characters of legend text that fit on a line."""
NARROW = 8
"""A matrix of so many columns or more has small numbers."""
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Figure:
    """A figure of the page."""

    title: str
    svg: str
    text: str
    rows: Rows

    def _repr_html_(self) -> str:
        """The figure as a notebook shows it."""
        return f"{self.svg}<p>{html.escape(self.text)}</p>"


@contextmanager
def panels(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **options: Any
) -> Iterator[tuple[Canvas, Sequence[Axes]]]:
    """A canvas in the style of all figures, of so many inches, with its panels row by row.

    Args:
        options: passed to matplotlib's `subplots`.
    """
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(width, height))
        yield canvas, canvas.subplots(rows, columns, squeeze=False, **options).ravel()


def heatmap(
    title: str,
    text: str,
    value_RC: NDArray[np.float64],
    row_names: Sequence[str],
    column_names: Sequence[str],
    limit: float,
    corner: str,
    shown_from: float = 0.0,
) -> Figure:
    """Values about zero in blue and orange, each written in its cell."""
    with panels(0.9 + 0.5 * len(row_names)) as (canvas, (axes,)):
        cells(axes, value_RC, row_names, column_names, limit, shown_from)
    rows = [
        {
            corner: name,
            **{c: float(v + shown_from) for c, v in zip(column_names, values, strict=True)},
        }
        for name, values in zip(row_names, value_RC, strict=True)
    ]
    return Figure(title, svg(canvas, text), text, rows)


def cells(
    axes: Axes,
    value_RC: NDArray[np.float64],
    row_names: Sequence[str],
    column_names: Sequence[str],
    limit: float,
    shown_from: float = 0.0,
) -> None:
    """The panel of a `heatmap`."""
    size, rotation = (6.5, 60) if len(column_names) >= NARROW else (9, 30)
    axes.imshow(value_RC, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    for row, column in np.ndindex(*value_RC.shape):
        value = value_RC[row, column]
        written = round(value + shown_from, 2) + 0.0  # not -0.00
        axes.text(
            column, row, f"{written:.2f}", ha="center", va="center", fontsize=size,
            color="#ffffff" if abs(value) > 0.6 * limit else "#000000",
        )  # fmt: skip
    axes.set_xticks(range(len(column_names)), column_names, rotation=rotation, ha="right")
    axes.set_yticks(range(len(row_names)), row_names)
    axes.spines[:].set_visible(False)


def outline(
    axes: Axes, value_N: NDArray[np.float64], edges: NDArray[np.float64], index: int, label: str
) -> None:
    style = ("-", "--", "-.", ":")[index % 4]
    inside_N = np.clip(value_N, edges[0], edges[-1])
    axes.hist(
        inside_N, edges, density=True, histtype="step", color=colour(index), linestyle=style,
        linewidth=1.3, label=label,
    )  # fmt: skip


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]


def legend(canvas: Canvas, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, min(3, CHARACTERS // max(map(len, labels), default=1)))
    canvas.legend(handles, labels, loc="outside upper left", ncols=columns)


def svg(canvas: Canvas, text: str) -> str:
    """The figure as an element of the page, in the page's own colours and width."""
    stream = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": text}):
        canvas.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()[stream.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[^"]*_\d+"', "", svg)  # group names, which repeat in every figure
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace(INK, "currentColor").replace(LINE, "var(--line, #b0b0b0)")


def standalone(svg: str) -> str:
    """A figure of the page as a separate file: black on white, whatever surrounds it."""
    header = 'xmlns="http://www.w3.org/2000/svg" style="background: white"'
    bare = re.sub(r' xmlns="[^"]*"', "", svg, count=1)
    return bare.replace("<svg", f"<svg {header}", 1)
