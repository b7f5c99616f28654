"""The memory of a replica that answers full batches for half an hour, prompt after prompt.

python jobs/benchmarks/serving_memory.py model.path=outputs/mine/model data.root=FOLDER

Needs psutil.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from typing import Any

from pydantic import Field
from serving import ask, read_requests
from soak_clients import threads
from soak_watch import ROLES, processes

from more_ray.cli import load_config, user_errors
from more_ray.config import DataConfig, ModelConfig, Section

MIB = 2**20


class MemoryBenchmark(Section):
    model: ModelConfig
    """The reward model: a run's `model` folder."""
    data: DataConfig = DataConfig()
    """Whose test pairs are the requests: a prompt with both answers."""
    requests: int = Field(600, ge=1)
    """Pairs, asked in another order each time. They should be more than a replica keeps."""
    clients: int = Field(64, ge=1)
    """Requests under way at a time."""
    minutes: float = Field(30, gt=0)
    every: float = Field(60, gt=0)
    """Seconds between looks."""
    port: int = 8_766
    """Where the service listens."""


def main() -> None:
    config = load_config(MemoryBenchmark, sys.argv[1:], __doc__ or "")
    from record import record

    from more_ray.cluster import session
    from more_ray.config.serve import ServeConfig
    from more_ray.serve.app import serving

    rows: list[dict[str, Any]] = []
    answers, stop, order = 0, threading.Event(), random.Random(0)
    began = time.monotonic()

    def look() -> None:
        while not stop.wait(config.every):
            for replica in processes(ROLES["replica"]):
                row = {
                    "minutes": (time.monotonic() - began) / 60,
                    "answers": answers,
                    "USS MiB": replica.memory_full_info().uss / MIB,
                    "files": replica.num_fds(),
                }
                rows.append(row)
                print(row, flush=True)

    with user_errors(), session(2, verbose=False):
        pairs = read_requests(config.data, config.requests)
        served = ServeConfig(model=config.model, port=config.port, max_queued=10_000, timeout=3_600)
        with serving(served) as url, threads([look]):
            began = time.monotonic()
            try:
                while time.monotonic() < began + 60 * config.minutes:
                    order.shuffle(pairs)
                    asyncio.run(ask(f"{url}/score", pairs, config.clients))
                    answers += 2 * len(pairs)
            finally:
                stop.set()
    record("serving_memory", config.model_dump(mode="json"), rows)


if __name__ == "__main__":
    main()
