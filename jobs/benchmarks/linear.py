"""Matrix products of a linear layer in fp32, by MKL and by oneDNN, forward and backward.

And what a number of rows costs that oneDNN has not met before.

python jobs/benchmarks/linear.py
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from more_ray.cli import load_config
from more_ray.config import Section

NEW_ROWS = range(301, 501)


class LinearBenchmark(Section):
    shapes: tuple[tuple[int, int], ...] = ((576, 576), (576, 1_536), (1_536, 576), (2_048, 8_192))
    """Inputs and outputs of each layer."""
    tokens: tuple[int, ...] = (1, 32, 512, 2_048)
    """Rows that are multiplied at a time."""
    rounds: int = Field(9, ge=1)
    """Measurements of each kind, in turn; the median counts."""


def main() -> None:
    config = load_config(LinearBenchmark, sys.argv[1:], __doc__ or "")
    from record import record

    met_first = [new_rows(*shape) for shape in config.shapes]  # before the heap has holes
    rows = [
        row(tokens, *shape, rounds=config.rounds)
        for shape in config.shapes
        for tokens in config.tokens
    ]
    settings = config.model_dump(mode="json")
    record("linear", settings, rows)
    record("linear_new_rows", settings, met_first)


def row(tokens: int, inputs: int, outputs: int, rounds: int) -> dict[str, Any]:
    from more_ray.model.onednn import OneDnnLinear

    layer = nn.Linear(inputs, outputs, bias=False)
    x = torch.randn(tokens, inputs, requires_grad=True)

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    def both() -> None:
        layer(x).sum().backward()

    said: dict[str, Any] = {"layer": f"{inputs} x {outputs}", "tokens": tokens}
    for name, work, products in (("forward", forward, 1), ("with backward", both, 3)):
        flops = 2 * products * tokens * inputs * outputs
        times = int(max(1, 1e8 // flops))
        seconds: dict[type[nn.Module], list[float]] = {nn.Linear: [], OneDnnLinear: []}
        for _ in range(rounds + 1):
            for kind, lasted in seconds.items():
                layer.__class__ = kind
                lasted.append(repeated(work, times))
        mkl, onednn = (float(np.median(lasted[1:])) for lasted in seconds.values())
        said[f"{name}, MKL, GFLOP/s"] = flops / mkl / 1e9
        said[f"{name}, oneDNN, GFLOP/s"] = flops / onednn / 1e9
    return said


def new_rows(inputs: int, outputs: int) -> dict[str, Any]:
    """The first and the second product of each number of rows."""
    from more_ray.model.onednn import OneDnnLinear

    layer = nn.Linear(inputs, outputs, bias=False)
    layer.__class__ = OneDnnLinear
    x = torch.randn(NEW_ROWS[-1], inputs)
    seconds: list[list[float]] = [[], []]
    before = memory()
    with torch.no_grad():
        for rows in NEW_ROWS:
            for lasted in seconds:
                lasted.append(repeated(partial(layer, x[:rows]), 1))
    first, again = (1e3 * float(np.median(lasted)) for lasted in seconds)
    return {
        "layer": f"{inputs} x {outputs}",
        "first, ms": first,
        "again, ms": again,
        "MiB each": (memory() - before) / len(NEW_ROWS),
    }


def memory() -> float:
    """Of this process, in MiB."""
    (resident,) = re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(resident) / 1024


def repeated(work: Callable[[], None], times: int) -> float:
    """Seconds of one of several calls."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


if __name__ == "__main__":
    main()
