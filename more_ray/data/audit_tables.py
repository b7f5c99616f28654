"""What preparation counted of each source, as rows that the terminal and the report show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from more_ray.data.audit import AUDITED
from more_ray.data.lengths import Lengths
from more_ray.metrics.intervals import wilson
from more_ray.metrics.written import with_interval

Counts = Mapping[str, Mapping[str, Any]]
"""`SourceCounts` by source, of a manifest or of an `environment.json`."""
Rows = list[dict[str, Any]]
"""Cells by the heading of their column."""

ABOUT_LENGTHS = (
    "median, 95%: tokens of a prompt with one answer; half of these texts, and 95%, have no more. "
    "cut: texts of more than data.max_length tokens. packed: the share of tokens that packing "
    "saves. longer one: how often people chose the answer with more characters."
)


def pair_rows(counts: Counts) -> Rows:
    """Pairs, rejects, and doubtful training pairs of each source."""
    return [
        {
            "source": name,
            "train": count["train"],
            "test": count["test"],
            "rejected": sum(count["rejected"].values()),
            **{title: count[key] for key, title in AUDITED.items()},
        }
        for name, count in counts.items()
    ]


def without_zeros(rows: Rows) -> tuple[Rows, list[str]]:
    """The rows without the columns that are 0 in all of them, and the headings of those."""
    zeros = [key for key in next(iter(rows), {}) if all(row[key] == 0 for row in rows)]
    return [{key: row[key] for key in row if key not in zeros} for row in rows], zeros


def length_rows(counts: Counts) -> Rows:
    """Lengths of the texts of each source; what earlier versions prepared has none."""
    return [
        {"source": name, **_length_cells(count["lengths"])}
        for name, count in counts.items()
        if "lengths" in count
    ]


def _length_cells(found: Lengths) -> dict[str, Any]:
    both = 2 * found["shared"] + found["own"]
    compared = found["compared"]
    longer = found["longer"] / max(1, compared)
    return {
        "texts": found["texts"],
        "median": found["median"],
        "95%": found["percentile_95"],
        "cut": f"{found['cut'] / max(1, found['texts']):.1%}",
        "packed": f"{found['shared'] / both:.1%}" if compared else "-",
        "longer one": with_interval(longer, wilson(longer, compared)) if compared else "-",
    }


def reject_rows(counts: Counts) -> Rows:
    """How many records each source lost for each reason, the most frequent first."""
    return [
        {"source": name, "rejected because": reason, "records": number}
        for name, count in counts.items()
        for reason, number in sorted(count["rejected"].items(), key=lambda item: -item[1])
    ]
