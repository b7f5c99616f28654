"""The notebooks of the documentation; as a script, it runs them and keeps what they show.

Not what libraries log meanwhile. `python tests/notebooks.py annotators` runs one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("docs/notebooks/*.ipynb"))


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def run(notebook: NotebookNode, folder: str | Path) -> None:
    """Run the cells in a folder, where their files go; what they show replaces what was there.

    Raises:
        CellExecutionError: a cell failed.
    """
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, record_timing=False, resources=place).execute()


if __name__ == "__main__":
    for path in (path for path in NOTEBOOKS if path.stem in sys.argv[1:] or not sys.argv[1:]):
        notebook = read(path)
        with TemporaryDirectory() as folder:
            run(notebook, folder)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        nbformat.write(notebook, path)
