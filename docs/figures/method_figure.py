"""The method in one picture, as SVG."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping

from more_ray.report.drawing import COLOURS

WIDTH, HEIGHT = 800, 300
SOURCES = (("source 1", "₁", 96), ("source 2", "₂", 148), ("source K", "ₖ", 226))
"""Name, index and height of the middle of each source that is drawn."""
TEXT = (
    "Each of K sources gives a gradient. Lam mixes them to the shortest sum, by which one language "
    "model is trained. On its last layer a shared reward w and a drift for each source are fitted: "
    "calibrated for each source, for everybody, and for people who were never asked."
)


def draw(palette: Mapping[str, str]) -> str:
    """The picture.

    Args:
        palette: `ink`, `quiet`, `line` and `panel`, colours.
    """
    parts = "\n".join([*_sources(), *_gradients(), *_trunk(), *_heads(), *_outcomes()])
    for name, colour in palette.items():
        parts = parts.replace(f"[{name}]", colour)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="14">\n<title>{html.escape(TEXT)}</title>\n'
        f"{parts}\n</svg>\n"
    )


def _sources() -> Iterator[str]:
    yield _heading(66, "preferences", "of K sources")
    for (name, _, y), colour in zip(SOURCES, COLOURS, strict=False):
        yield _box(14, y - 17, 104, 34, colour)
        yield _text(66, y + 5, name)
        yield _arrow(122, y, 166, y, colour)
    yield _text(66, 194, "⋮")


def _gradients() -> Iterator[str]:
    yield _heading(232, "a gradient each", "and their shortest mix")
    start = (192, 212)
    ends = ((200, 104), (270, 100), (304, 206))
    yield (
        f'<path d="M{ends[0][0]} {ends[0][1]} L{ends[1][0]} {ends[1][1]} '
        f'L{ends[2][0]} {ends[2][1]} Z" fill="[panel]" stroke="[line]" stroke-dasharray="4 3"/>'
    )
    for end, aside, (_, index, _), colour in zip(
        ends, (-13, 14, 14), SOURCES, COLOURS, strict=False
    ):
        yield _arrow(*start, *end, colour)
        yield _text(end[0] + aside, end[1] - 1, f"g{index}", colour)
    yield _arrow(*start, 250, 153, "[ink]", 3)  # the nearest point of the triangle
    yield _text(236, 268, "λ = the weights that make", "[quiet]", 12)
    yield _text(236, 285, "λ₁g₁ + … + λₖgₖ shortest", "[quiet]", 12)


def _trunk() -> Iterator[str]:
    yield _heading(404, "one model", "trained by that mix")
    yield _arrow(312, 160, 350, 160, "[ink]", 2)
    yield _box(354, 80, 100, 164, "[ink]")
    for y in (100, 124, 148, 172, 196, 220):
        yield f'<rect x="366" y="{y - 7}" width="76" height="14" rx="3" fill="[line]"/>'
    yield _text(404, 268, "a language model", "[quiet]", 12)


def _heads() -> Iterator[str]:
    yield _heading(550, "shared + drift", "fitted on its last layer")
    yield _arrow(458, 160, 496, 160, "[ink]", 2)
    yield _box(500, 80, 100, 34, "[ink]")
    yield _text(550, 102, "shared w")
    for y, (_, index, _), colour in zip((140, 178, 226), SOURCES, COLOURS, strict=False):
        yield _box(514, y - 14, 72, 28, colour)
        yield _text(550, y + 5, f"drift d{index}", size=13)
    yield _text(550, 208, "⋮")
    yield _text(550, 268, "w + dᵢ: a reward each", "[quiet]", 12)


def _outcomes() -> Iterator[str]:
    yield _heading(712, "calibrated for", "says 80%, is right 80%")
    rows = (
        (97, "each source", "w + dᵢ", COLOURS[0]),
        (160, "everybody", "w", "[ink]"),
        (226, "people never asked", "w, less sure", "[quiet]"),
    )
    for y, name, how, colour in rows:
        yield _arrow(604, y, 632, y, colour)
        yield _text(640, y, name, anchor="start")
        yield _text(640, y + 17, how, "[quiet]", 12, anchor="start")


def _heading(x: float, first: str, second: str) -> str:
    return f"{_text(x, 24, first, weight=600)}\n{_text(x, 43, second, '[quiet]', 12)}"


def _text(
    x: float,
    y: float,
    words: str,
    colour: str = "[ink]",
    size: int = 14,
    weight: int = 400,
    anchor: str = "middle",
) -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{words}</text>'
    )


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="[panel]" '
        f'stroke="{colour}" stroke-width="1.5"/>'
    )


def _arrow(x: float, y: float, to_x: float, to_y: float, colour: str, width: float = 1.8) -> str:
    """A line whose tip is at `to_x`, `to_y`."""
    length = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5
    along = ((to_x - x) / length, (to_y - y) / length)
    back = (to_x - 8 * along[0], to_y - 8 * along[1])
    left = (back[0] - 4 * along[1], back[1] + 4 * along[0])
    right = (back[0] + 4 * along[1], back[1] - 4 * along[0])
    tip = " ".join(f"{a:.1f},{b:.1f}" for a, b in ((to_x, to_y), left, right))
    return (
        f'<line x1="{x}" y1="{y}" x2="{back[0]:.1f}" y2="{back[1]:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"/><polygon points="{tip}" fill="{colour}"/>'
    )
