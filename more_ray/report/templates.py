"""The templates of pages, and how they write numbers."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from more_ray.report.drawing import Rows

INTERVAL = re.compile(r"([-+]?[\d.]+) (\([^()]*\))")
"""`0.612 (0.590-0.634)`: phones and crowded tables show the interval below its number."""

SECTION = re.compile(
    r'<(section(?: class="figure")?|details class="part")>(\s*<(?:h2|summary)>)([^<]*)'
)
"""The beginning of a section, up to its heading."""


def render(template: str, **values: Any) -> str:
    """Render a page as HTML: no script, no network, fits phones and paper, light or dark."""
    templates = Environment(
        loader=PackageLoader("more_ray.report", "."), autoescape=True, undefined=StrictUndefined
    )
    templates.filters |= {
        "anchored": _anchored,
        "columns": _columns,
        "number": _number,
        "facts": _facts,
        "word_columns": _word_columns,
        "crowded": _crowded,
    }
    return templates.get_template(template).render(values)


def turned(rows: Rows, name: str) -> Rows:
    """A table with a column for each row, by what stands in its column `name`."""
    others = [key for key in rows[0] if key != name]
    return [{"": key, **{row[name]: row[key] for row in rows}} for key in others]


def _anchored(body: str) -> tuple[Markup, list[Markup]]:
    """The sections of a page, each with an id, and their headings."""
    headings: list[Markup] = []

    def with_id(found: re.Match[str]) -> str:
        headings.append(Markup(found[3]))
        return f'<{found[1]} id="part-{len(headings)}">{found[2]}{found[3]}'

    return Markup(SECTION.sub(with_id, body)), headings


def _columns(rows: Rows) -> list[str]:
    """The headings of a table: a row may lack some."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:{_style(abs(value))}}"
    if isinstance(value, str) and (found := INTERVAL.fullmatch(value)):
        if set(re.split(" to |(?<=[0-9])-", found[2][1:-1])) == {found[1]}:
            return found[1]  # as all that it is the mean of
        return Markup('{} <span class="interval">{}</span>').format(*found.groups())
    return "" if value is None else str(value)


def _style(size: float) -> str:
    if size >= 1000:
        return ",.0f"
    if size >= 10:
        return ".4g"
    return ".3f" if size == 0 or size >= 0.001 else ".3g"


def _word_columns(rows: Rows) -> set[str]:
    """The columns that hold words, which are set from the left and may be wrapped."""
    return {
        key
        for row in rows
        for key, value in row.items()
        if isinstance(value, str) and re.match(r"[^\W\d]", value)
    }


def _crowded(rows: Rows) -> bool:
    """Whether three columns or more have intervals."""
    intervals = ([key for key in row if INTERVAL.fullmatch(str(row[key]))] for row in rows)
    return any(len(found) > 2 for found in intervals)


FACTS = {"memory_gib": "memory, GiB", "started": "started (UTC)"}
"""What pages call the entries of `environment.json` whose names do not explain themselves."""


def _facts(environment: dict[str, Any]) -> Rows:
    """What no other part of the page says."""
    unsaid = {"command", "data", "trunk", "texts"}
    if environment.get("data"):
        unsaid |= {"training_pairs", "test_pairs"}
    return [
        {
            "": FACTS.get(key, key.replace("_", " ")),
            " ": ", ".join(f"{k} {v}" for k, v in value.items())
            if isinstance(value, dict)
            else value,
        }
        for key, value in environment.items()
        if key not in unsaid and value not in (None, "")
    ]
