"""The Python that workers are to run under."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from more_ray.errors import UserError
from more_ray.sample.workers import check_python


def python_that(folder: Path, does: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


def test_this_python_runs_workers() -> None:
    check_python(sys.executable)


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("echo 2.0.0 3 9", "has Ray and Python 2.0.0 3 9"),
        ("echo Traceback >&2; echo no module ray >&2; exit 1", "cannot run workers: no module ray"),
        (None, "cannot run .*No such file"),
    ],
)
def test_another_python_is_refused_in_one_line(
    tmp_path: Path, does: str | None, message: str
) -> None:
    python = python_that(tmp_path, does) if does else str(tmp_path / "python")
    with pytest.raises(UserError, match=rf"^policy\.python: .*{message}.*; allowed: .*make vllm"):
        check_python(python)
