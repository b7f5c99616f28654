"""What a benchmark leaves: its rows, and what they were measured with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from more_ray.environment import PACKAGES, environment

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parents[2] / "docs" / "figures"

Row = dict[str, Any]


def record(
    name: str, settings: dict[str, Any], rows: Sequence[Row], folder: Path = RESULTS
) -> None:
    """Write `NAME.json` in the folder and print its rows as a table."""
    folder.mkdir(exist_ok=True)
    made_with = environment((*PACKAGES, "trl", "torchjd", "quadprog"))
    content = {"measured_with": made_with, "settings": settings, "rows": list(rows)}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for key in rows[0]:
        table.add_column(key, justify="left" if isinstance(rows[0][key], str) else "right")
    for row in rows:
        table.add_row(
            *(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
        )
    console = Console(width=120)
    console.print(table)
    console.print(f"Written to {path}")
