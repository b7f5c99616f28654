"""The templates of pages, and how they write numbers."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from more_ray.report.drawing import Rows


def render(template: str, **values: Any) -> str:
    """Render a page as HTML: no script, no network, fits phones, light or dark."""
    templates = Environment(
        loader=PackageLoader("more_ray.report", "."), autoescape=True, undefined=StrictUndefined
    )
    templates.filters |= {"number": _number, "facts": _facts}
    return templates.get_template(template).render(values)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def _facts(environment: dict[str, Any]) -> Rows:
    return [
        {
            "": key.replace("_", " "),
            " ": ", ".join(f"{k} {v}" for k, v in value.items())
            if isinstance(value, dict)
            else value,
        }
        for key, value in environment.items()
        if key not in ("command", "data") and value not in (None, "")
    ]
