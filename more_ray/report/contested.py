"""The test pairs that divide populations most, from a calibration's `disagreements.parquet`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import pyarrow as pa

from more_ray.report.drawing import Rows

SHOWN = 10
"""Pairs on the page."""
OWN = "own."
"""What the names of the columns begin with that hold a source's own head's probabilities."""
CHARACTERS = 600
"""The most that is shown of each text."""
WORDS = 50
"""Characters of a prompt in the table."""


@dataclass(frozen=True)
class Contested:
    """A pair that the page shows."""

    row: dict[str, str]
    """Its row in the table of all."""
    by_head: Rows
    texts: dict[str, str]
    """`shared`, `chosen` and `rejected`."""


def most_contested(table: pa.Table) -> list[Contested]:
    """The pairs with the largest `disagreement`; none where the calibration wrote no texts."""
    if "text.shared" not in table.column_names:
        return []
    found = table.sort_by([("disagreement", "descending")]).slice(0, SHOWN).to_pylist()
    return [_contested(pair) for pair in found]


def _contested(pair: Mapping[str, Any]) -> Contested:
    own = {key.removeprefix(OWN): pair[key] for key in pair if key.startswith(OWN)}
    low, high = (ends(own, key=own.__getitem__) for ends in (min, max))
    row = {
        "prompt": shorten(pair["text.shared"], WORDS, placeholder=" …"),
        "source": pair["source"],
        "lowest": f"{low} {own[low]:.2f}",
        "highest": f"{high} {own[high]:.2f}",
    }
    by_head = [{"by": name, "probability": f"{value:.2f}"} for name, value in own.items()]
    by_head.append({"by": "the shared head", "probability": f"{pair['shared']:.2f}"})
    return Contested(row, by_head, _texts(pair))


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
