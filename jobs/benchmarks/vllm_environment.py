"""An environment of its own for vLLM on CPUs, in which workers of this package's Ray can sample.

python jobs/benchmarks/vllm_environment.py FOLDER
"""

from __future__ import annotations

import sys
import venv
from importlib.metadata import version
from pathlib import Path

from peer_environments import PEERS, install, pip

WITH_WORKERS = {"ray[data]": "ray", "pyarrow": "pyarrow", "pandas": "pandas"}
"""What a worker exchanges with the others: in the versions of this environment."""


def main() -> None:
    place = Path(sys.argv[1])
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    install(python, PEERS["vllm_server"])
    pip(python, *(f"{name}=={version(package)}" for name, package in WITH_WORKERS.items()))
    pip(python, "--no-deps", "-e", Path(__file__).parents[2])


if __name__ == "__main__":
    main()
