"""The documentation shows what the demo prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from documentation import shown
from support import without_cluster

pytestmark = pytest.mark.integration
NUMBER = re.compile(r"\d+\.\d+")
ROUNDING = 0.02
"""Another processor may round otherwise, which training makes more of."""


def test_its_table_is_the_one_that_is_shown(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("more-ray")
    done = subprocess.run(
        [program, "demo"],
        cwd=tmp_path,
        env=without_cluster(COLUMNS="100"),
        capture_output=True,
        text=True,
        check=True,
    )
    printed = done.stdout.splitlines()
    tables = [block for block in shown("text") if "to truth" in block.text]
    assert len(tables) == 2
    for table in tables:
        for line in filter(str.strip, table.text.splitlines()):
            assert any(alike(line, other) for other in printed), f"{table}: {line}\n{done.stdout}"


def alike(line: str, other: str) -> bool:
    """Whether two lines have the same words, and numbers that are nearly the same."""
    words, others = (" ".join(NUMBER.sub("#", one).split()) for one in (line, other))
    numbers = zip(NUMBER.findall(line), NUMBER.findall(other), strict=False)
    return words == others and all(
        abs(float(one) - float(another)) <= ROUNDING for one, another in numbers
    )
