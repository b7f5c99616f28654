"""How figures are drawn: colours, markers, and SVG that takes the page's own light or dark ink."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

Rows = list[dict[str, Any]]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a64cff", "#7f5973", "#a64819", "#cc1fcc")
"""Four of Okabe and Ito's colours and four more: distinct for people with any colour vision, and
with a contrast of 3:1 on light and on dark pages. Markers differ too."""
MARKERS = "osD^vPX*"
INK, LINE = "#010101", "#020202"
"""Placeholders for the page's own text and line colours, light or dark."""
WIDTH = (
    4.4  # inches: text is as large as that of captions on a phone, and little larger on a desktop
)
CHARACTERS = 54
"""Characters of legend text that fit on a line."""
NARROW = 8
"""A matrix of so many columns or more has small numbers."""
DEEPEST = 0.6
"""How opaque the cell with the largest value is: the page's ink stays readable on it."""
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # names may have dollars
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
    rows: Rows = field(default_factory=list)
    """The numbers behind it, where no table of the page has them."""

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
    corner: str,
    shown_from: float = 0.0,
) -> Figure:
    """Values about zero in blue and orange, each written in its cell; NaN is left blank."""
    with panels(0.9 + 0.4 * len(row_names)) as (canvas, (axes,)):
        cells(axes, value_RC, row_names, column_names, shown_from)
    rows = [
        {
            corner: name,
            **{
                column: None if np.isnan(value) else float(value + shown_from)
                for column, value in zip(column_names, values, strict=True)
            },
        }
        for name, values in zip(row_names, value_RC, strict=True)
    ]
    return Figure(title, svg(canvas, text), text, rows)


def cells(
    axes: Axes,
    value_RC: NDArray[np.float64],
    row_names: Sequence[str],
    column_names: Sequence[str],
    shown_from: float = 0.0,
) -> None:
    """The panel of a `heatmap`: the nearer to zero, the more of the page shows through."""
    size, rotation = (6.5, 60) if len(column_names) >= NARROW else (9, 30)
    largest = np.nanmax(np.abs(value_RC), initial=1e-9)
    for row, column in np.argwhere(~np.isnan(value_RC)):
        value = value_RC[row, column]
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5), 1, 1, linewidth=0, facecolor=colour(int(value > 0)),
                alpha=DEEPEST * abs(value) / largest,
            )
        )  # fmt: skip
        written = round(value + shown_from, 2) + 0.0  # not -0.00
        axes.text(column, row, f"{written:.2f}", ha="center", va="center", fontsize=size)
    axes.set_xlim(-0.5, len(column_names) - 0.5)
    axes.set_ylim(len(row_names) - 0.5, -0.5)
    axes.set_xticks(range(len(column_names)), column_names, rotation=rotation, ha="right")
    axes.set_yticks(range(len(row_names)), row_names)
    axes.spines[:].set_visible(False)


def between(value_KK: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix of pairs without its diagonal, which says nothing."""
    return np.where(np.eye(len(value_KK), dtype=bool), np.nan, value_KK)


def no_closer(axes: Axes, which: Literal["x", "y"], span: float) -> None:
    """Show at least `span` of an axis of what is positive: what is nearly the same looks so."""
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    missing = max(0.0, span - (high - low))
    start = max(low - missing / 2, min(low, 0.0))
    axes.set(**{f"{which}lim": (start, start + (high - low) + missing)})


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
