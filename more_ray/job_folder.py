"""Workers of a cluster that a job joins start in the folder where the cluster was started, but
settings name models from where the job runs."""

from __future__ import annotations

import os
from typing import Any

FOLDER = "MORE_RAY_JOB_FOLDER"


def starting_here() -> dict[str, Any]:
    """The runtime environment of workers that start in this process's folder, if they have it."""
    return {
        "env_vars": {FOLDER: os.getcwd()},
        "worker_process_setup_hook": f"{enter.__module__}.{enter.__name__}",
    }


def enter() -> None:
    if os.path.isdir(os.environ[FOLDER]):
        os.chdir(os.environ[FOLDER])
