"""How numbers and their intervals are written in tables and pages."""

from __future__ import annotations

from collections.abc import Sequence


def interval_text(ends: Sequence[float], style: str = ".3f", to: str = "-") -> str:
    """`0.590-0.634`; values that may be negative need ` to ` between them."""
    return to.join(format(end, style) for end in ends)


def with_interval(
    value: float | None, ends: Sequence[float] | None, style: str = ".3f", to: str = "-"
) -> str:
    """`0.612 (0.590-0.634)`; only the value where there is no interval, `-` without a value."""
    if value is None:
        return "-"
    brackets = f" ({interval_text(ends, style, to)})" if ends else ""
    return format(value, style) + brackets


def signed(value: float | None, ends: Sequence[float] | None) -> str:
    """`+0.030 (+0.010 to +0.050)`, for differences."""
    return with_interval(value, ends, "+.3f", " to ")


def plus_minus(value: float, ends: Sequence[float], style: str = ".3f") -> str:
    """`0.612 ±0.022`, with half the length of the interval."""
    return f"{value:{style}} ±{(ends[1] - ends[0]) / 2:{style}}"
