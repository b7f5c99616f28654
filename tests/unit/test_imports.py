"""What each kind of process imports: what is slow in the wrong place costs every start seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODEL_CODE = {"torch", "transformers", "deepspeed", "peft", "accelerate"}
UNUSED = {"peft", "datasets", "matplotlib", "tensorboard", "mlflow", "wandb", "openai", "optuna"}

PROCESSES = {
    "command line": (
        "import more_ray.cli, more_ray.config",
        MODEL_CODE | UNUSED | {"ray", "pandas", "scipy", "pyarrow"},
    ),
    "what asks for a fork": (
        "import more_ray.fork_server",
        MODEL_CODE | {"ray", "numpy", "pyarrow"},
    ),
    "fork server": (
        "from more_ray.fork_server import MODULES; [__import__(name) for name in MODULES]",
        UNUSED | {"ray"},
    ),
    "controller": (
        "import more_ray.train.start, more_ray.train.training_data",
        MODEL_CODE | UNUSED,
    ),
    "what makes batches": ("import more_ray.data.stream", MODEL_CODE | UNUSED),
    "run log": ("import more_ray.train.run_log", MODEL_CODE | UNUSED | {"pandas"}),
    "driver": ("import more_ray.train.run", UNUSED),
    "worker": ("import more_ray.train.worker", UNUSED),
}


@pytest.mark.parametrize("process", PROCESSES)
def test_no_process_imports_what_it_does_not_need(process: str) -> None:
    code, forbidden = PROCESSES[process]
    listed = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not forbidden & {name.partition(".")[0] for name in listed}
