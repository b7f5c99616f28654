"""What each kind of process imports: what is slow in the wrong place costs every start seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

PARTS = [
    f"more_ray.{part}"
    for part in ("align", "evaluate", "judge", "report", "sample", "serve", "sweep", "train")
]
"""Folders that have the name of a verb."""
MODEL_CODE = {"torch", "transformers", "deepspeed", "peft", "accelerate"}
UNUSED = {"peft", "datasets", "matplotlib", "tensorboard", "mlflow", "wandb", "openai", "optuna"}

PROCESSES = {
    "front door": (
        "import more_ray; dir(more_ray), more_ray.train, more_ray.UserError",
        MODEL_CODE | UNUSED | {"ray", "pandas", "numpy", "pydantic", "yaml", "pyarrow"},
    ),
    "settings of a verb": (
        "import more_ray\ntry: more_ray.train(model={'layer': 1})\nexcept more_ray.UserError: pass",
        MODEL_CODE | UNUSED | {"ray", "pandas"},
    ),
    "command line": (
        "import more_ray.commands, more_ray.config",
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
    "mathematics of calibration": (
        "import more_ray.calibrate.unknown, more_ray.model.heads_file",
        MODEL_CODE | UNUSED | {"ray", "pandas"},
    ),
    "worker in the environment of an engine": (
        "import more_ray.sample.workers, more_ray.sample.engines.with_vllm",
        UNUSED | {"scipy", "deepspeed", "accelerate"},  # which it lacks
    ),
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


def test_importing_the_package_takes_no_time() -> None:
    code = (
        "import time; began = time.perf_counter(); import more_ray\n"
        "print(time.perf_counter() - began)"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(5)
    ]
    assert min(seconds) < 0.05


@pytest.mark.parametrize("first", ["pass", f"import {', '.join(PARTS)}"])
def test_a_verb_is_called_whatever_was_imported_before(first: str) -> None:
    code = f"""
{first}
import inspect, types
from ray import cloudpickle
import more_ray
from more_ray import api, train
called = []
api.train = lambda *given, **changes: called.append((given, changes))
assert callable(train) and isinstance(train, types.ModuleType)
more_ray.train("a.yaml", output_dir="x")
import more_ray.train.step as step
from more_ray.serve.app import build_app
assert more_ray.serve.app.build_app is build_app
assert more_ray.train.step is step and more_ray.train is train
more_ray.train(data={{}})
assert called == [(("a.yaml",), {{"output_dir": "x"}}), ((), {{"data": {{}}}})], called
for verb in more_ray.__all__:
    assert callable(getattr(more_ray, verb)) and verb in dir(more_ray)
assert str(inspect.signature(more_ray.judge)) == str(inspect.signature(api.judge))
for one in (more_ray, more_ray.judge):
    assert cloudpickle.loads(cloudpickle.dumps(one)) is one
"""
    subprocess.run([sys.executable, "-c", code], check=True)
