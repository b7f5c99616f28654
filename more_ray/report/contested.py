"""The test pairs that divide populations most, from a calibration's `disagreements.parquet`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from more_ray.report.drawing import Rows

SHOWN = 10
"""Pairs on the page."""
OWN = "own."
"""What the names of the columns begin with that hold a source's own head's probabilities."""
CHARACTERS = 600
"""The most that is shown of each text."""


@dataclass(frozen=True)
class Contested:
    """What the page shows of the pairs, the most contested first."""

    rows: Rows
    texts: list[dict[str, str]]
    """`shared`, `chosen` and `rejected` of each row; empty where the calibration wrote no texts."""


def most_contested(table: pa.Table) -> Contested:
    """The pairs with the largest `disagreement`."""
    found = table.sort_by([("disagreement", "descending")]).slice(0, SHOWN).to_pylist()
    owns = [name for name in table.column_names if name.startswith(OWN)]
    rows = [
        {
            "source": pair["source"],
            **{f"by {own.removeprefix(OWN)}": f"{pair[own]:.2f}" for own in owns},
            "by the shared head": f"{pair['shared']:.2f}",
            "pair": str(pair["pair"]),
        }
        for pair in found
    ]
    return Contested(rows, [_texts(pair) for pair in found if "text.shared" in pair])


def _texts(pair: Mapping[str, Any]) -> dict[str, str]:
    """The end of what both sequences begin with, and the beginning of what differs."""
    shared, chosen, rejected = (
        pair[f"text.{part}"].strip() for part in ("shared", "chosen", "rejected")
    )
    return {
        "shared": shared if len(shared) <= CHARACTERS else f"… {shared[-CHARACTERS:]}",
        "chosen": _beginning(chosen),
        "rejected": _beginning(rejected),
    }


def _beginning(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]} …"
