"""The origin of a result: the command, the code, the machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SCRIPT = "more-ray"
PACKAGES = ("more-ray", "torch", "transformers", "deepspeed", "ray", "numpy")


def environment(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """The command line, commit (where the code is a git checkout), machine and versions."""
    return {
        "command": _command(),
        "commit": _commit(),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in packages},
    }


def _command() -> str:
    """As it was typed, but for the folder of the console script."""
    program, *arguments = sys.argv
    typed = [Path(program).name] if Path(program).stem == SCRIPT else ["python", program]
    return shlex.join([*typed, *arguments])


def _commit() -> str | None:
    """The commit of this code, with a `+` where tracked files differ from it; None outside git."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # not somebody else's checkout
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
