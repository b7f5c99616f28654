"""The commands that the documentation shows, as functions: run in this process, or only checked."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bash_with_python import Function
from support import REPOSITORY

from more_ray import commands
from more_ray.cli import load_config

FOLDERS = ("cluster", "docs", "jobs", "more_ray")
"""What a reader sees in the folder where commands are run, the repository."""


def checkout(folder: Path) -> None:
    """Make a folder look like the repository, without what commands write there."""
    for name in FOLDERS:
        (folder / name).symlink_to(REPOSITORY / name)
    activate = folder / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()


def more_ray(arguments: list[str]) -> None:
    with patch("sys.argv", ["more-ray", *arguments]):
        commands.main()


def python(arguments: list[str]) -> None:
    """A script of the repository, in this process."""
    script = str(REPOSITORY / arguments[0])
    with patch("sys.argv", [script, *arguments[1:]]):
        runpy.run_path(script, run_name="__main__")


def make(arguments: list[str]) -> None:
    """Not run: the tests are themselves run by it."""
    targets = [one for one in arguments if "=" not in one]
    missing = [one for one in targets if not _has(f"^{one}:", "Makefile")]
    if missing:
        raise SystemExit(f"make: no target {', '.join(missing)}")


def pip(arguments: list[str]) -> None:
    """Not run: it would change the environment of the tests."""
    extras = re.findall(r"\[([\w,]+)\]", " ".join(arguments))
    names = [name for several in extras for name in several.split(",")]
    missing = [name for name in names if not _has(rf"^{name} = \[", "pyproject.toml")]
    if missing:
        raise SystemExit(f"pip: no extra {', '.join(missing)}")


def _has(pattern: str, file: str) -> bool:
    return bool(re.search(pattern, (REPOSITORY / file).read_text(), re.MULTILINE))


def check_python(arguments: list[str]) -> None:
    """Read the settings of a script that has any, and leave it at that."""
    script = REPOSITORY / (arguments or [""])[0]
    if script.suffix != ".py":
        return  # `python -m ...`, `python - <<'END'`
    of_a_job = script.parent == REPOSITORY / "jobs"
    if of_a_job or "load_config(" in script.read_text():
        python(arguments)


def check_ray(arguments: list[str]) -> None:
    """`ray job submit ... -- COMMAND ARGUMENT ...` runs COMMAND, on a cluster."""
    if "--" in arguments:
        command, *rest = arguments[arguments.index("--") + 1 :]
        CHECKED[command](rest)


@contextmanager
def nothing_runs() -> Iterator[None]:
    """Meanwhile, everything that takes settings only reads them."""

    def only_read(*arguments: Any) -> None:
        load_config(*arguments)
        raise SystemExit

    with (
        patch("more_ray.cli.load_config", only_read),
        patch("more_ray.commands.load_config", only_read),
    ):
        yield


CHECKED: dict[str, Function] = {
    "make": make,
    "more-ray": more_ray,
    "pip": pip,
    "python": check_python,
    "ray": check_ray,
}
"""To be called while `nothing_runs`."""
