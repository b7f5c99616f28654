"""What must hold, and how fast it is, on one GPU: three phases, each with a deadline.

python jobs/benchmarks/gpu.py training.data.root=FOLDER training.model.path=FOLDER

Nothing is fetched. Each phase writes its JSON after every part, so that a phase that is cut short
keeps what it has done and names what it has not. Ends with 1 where a part failed or does not hold.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import groupby, product
from pathlib import Path

from gpu_settings import CASES, THEIRS, GpuCheck
from parts import Part, Record, run_parts

from more_ray.cli import load_config

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic algorithms ask for it
    "RAY_memory_monitor_refresh_ms": "0",
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",  # batches differ in size at every step
}
Groups = Iterator[tuple[list[Part], Part | None]]
"""Parts of a phase, and what those of a process share."""


def main() -> None:
    config = load_config(GpuCheck, sys.argv[1:], __doc__ or "")
    os.environ.update(ENVIRONMENT)
    good = True
    for phase in config.phases:
        until = time.monotonic() + config.seconds[phase - 1]
        path = Path(config.output) / f"phase{phase}.json"
        record = Record(path, config.model_dump(mode="json"))
        groups = list(PHASES[phase](config))
        record.undone = [part.name for parts, _ in groups for part in parts]
        record.write()
        for parts, within in groups:
            run_parts(parts, record, until, within)
        good &= report(record)
    sys.exit(not good)


def ceilings(config: GpuCheck) -> Groups:
    plain = [
        Part(name, f"gpu_ceilings.{name}", (config,))
        for name in ("device", "matrix_product", "copy")
    ]
    attention = [
        Part(f"attention of {shape.name}: {case}", "gpu_ceilings.attention", (config, shape, case))
        for shape, case in product(config.models, CASES)
    ]
    yield plain + attention, None


def numbers_and_speed(config: GpuCheck) -> Groups:
    group = Part("process group", "gpu_models.group", (config,))
    numbers = [
        Part("packed is padded", "gpu_numbers.packed_is_padded", (config,)),
        Part("lam again", "gpu_numbers.lam_again", (config,)),
        Part("resumes", "gpu_numbers.resumes", (config,)),
        *(
            Part(f"ZeRO stages, {precision}", "gpu_numbers.zero_stages", (config, precision))
            for precision in ("bf16", "fp32")
        ),
    ]
    steps = [
        Part(f"{shape.name}, {variant}", f"gpu_speed.{_whose(variant)}", (config, shape, variant))
        for variant, shape in product(config.variants, config.models)
    ]
    # TRL gets processes of its own: it would join a process group that it finds.
    for by_trl, parts in groupby(numbers + steps, lambda part: part.function.endswith("theirs")):
        yield list(parts), None if by_trl else group


def _whose(variant: str) -> str:
    return "theirs" if variant in THEIRS else "ours"


def training(config: GpuCheck) -> Groups:
    runs = [
        Part(f"{scheme}, seed {seed}", "gpu_training.train", (config, scheme, seed))
        for seed, scheme in product(config.seeds, config.schemes)
    ]
    yield runs, Part("cluster", "gpu_training.cluster", (config,))


PHASES = {1: ceilings, 2: numbers_and_speed, 3: training}


def report(record: Record) -> bool:
    """Print a line a part; returns whether all that was done is right."""
    print(record.path)
    for name, result in record.done.items():
        short = [f"{key} {_short(one)}" for key, one in result.items() if not _is_long(one)]
        print(f"  {name}: {', '.join(short)}")
    for name, message in record.failed.items():
        print(f"  {name}: failed: {message.splitlines()[0]}")
    for name in record.undone:
        print(f"  {name}: not done before the deadline")
    wrong = [name for name, result in record.done.items() if not result.get("holds", True)]
    return not record.failed and not wrong


def _is_long(value: object) -> bool:
    return isinstance(value, (dict, list))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
