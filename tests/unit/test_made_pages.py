"""Pages of the documentation that scripts make are as these make them."""

from __future__ import annotations

from types import ModuleType

import make_benchmarks
import make_settings
import pytest


@pytest.mark.parametrize("made", [make_settings, make_benchmarks], ids=lambda made: made.PAGE.name)
def test_a_page_is_what_its_script_makes(made: ModuleType) -> None:
    is_so = made.PAGE.read_text() == made.text()
    assert is_so, f"python docs/make/{made.__name__}.py makes {made.PAGE.name} anew"


def test_every_recorded_benchmark_has_a_table() -> None:
    recorded = {path.stem for path in make_benchmarks.RESULTS.glob("*.json")}
    assert not recorded - make_benchmarks.named(), "docs/make/benchmarks.template.md lacks these"
