"""Imports point one way: from what people call down to what everything stands on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import more_ray

PACKAGE = Path(more_ray.__file__).parent
LAYERS = [
    {"errors", "fork_server", "job_folder", "environment", "metrics", "objective", "bars"},
    {"config", "storage"},
    {"parquet", "run_folder", "cluster", "endpoint"},
    {"device", "data"},
    {"model", "results"},
    {"evaluate", "paths"},
    {"calibrate"},
    {"train", "serve", "sample", "judge"},
    {"sweep", "align"},
    {"report"},
    {"terminal"},
    {"cli", "api"},
    {"commands"},
    {"__main__", "__init__"},
]
"""The lowest first; parts of a layer do not import each other."""
HEIGHT = {part: height for height, parts in enumerate(LAYERS) for part in parts}


def imports() -> Iterator[tuple[str, str, str]]:
    """Importing file, its part of the package, and the part that it imports."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            package, _, rest = node.module.partition(".")
            if package != "more_ray":
                continue
            parts = [rest.split(".")[0]] if rest else [alias.name for alias in node.names]
            for part in parts:
                yield str(inside), inside.parts[0].removesuffix(".py"), part


def test_every_part_has_a_layer() -> None:
    assert {part for _, *both in imports() for part in both} <= HEIGHT.keys()


def test_no_part_imports_one_of_its_own_layer_or_above() -> None:
    wrong = [
        f"{file} imports {imported}"
        for file, part, imported in imports()
        if part != imported and HEIGHT[part] <= HEIGHT[imported]
    ]
    assert not wrong


def test_every_folder_is_a_package_and_so_in_the_wheel() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]
