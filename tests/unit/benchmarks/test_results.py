"""What is kept of benchmarks is for everybody: no path of the machine that made it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[3] / "jobs" / "benchmarks" / "results"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_no_path_of_a_machine_is_kept(path: Path) -> None:
    assert not re.findall(r"""["'=\[, ]/\w[^"']*""", path.read_text())
