"""Real training on Ray with one GPU."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import ray
from gpu_settings import GpuCheck

from more_ray import storage
from more_ray.cluster import connect, quieten
from more_ray.train.run import run

KEPT = ("eval.json", "scores.parquet", "metrics.jsonl")
MEASURES = ("accuracy", "ece")


@contextmanager
def cluster(config: GpuCheck) -> Iterator[None]:
    """A local one with the GPU, where there is one."""
    gpus = int(config.device == "cuda")
    quieten()
    connect(1, verbose=False, num_gpus=gpus, object_store_memory=2_000_000_000)
    try:
        found = ray.cluster_resources().get("GPU", 0)
        assert found == gpus, f"Ray has {found} GPUs, not {gpus}"
        yield
    finally:
        ray.shutdown()


def train(config: GpuCheck, scheme: str, seed: int) -> dict[str, Any]:
    """One run; what is kept of it is added to `runs.tar`, and `summary.json` is made anew."""
    output = Path(config.output)
    name = f"{scheme}-{seed}"
    folder = Path(config.runs) / name
    given = config.training
    started = time.monotonic()
    evaluation = run(
        given.changed(
            output_dir=str(folder),
            objective=given.objective.changed(scheme=scheme),
            train=given.train.changed(seed=seed, use_gpu=config.device == "cuda"),
        ),
        quiet=True,
    )
    seconds = time.monotonic() - started
    with tarfile.open(output / "runs.tar", "a") as archive:
        for file in KEPT:
            archive.add(folder / file, f"{name}/{file}")
    storage.write_json(str(output / "summary.json"), summary(config))
    return {"seconds": seconds, "mean": evaluation["mean"], "sources": evaluation["sources"]}


def summary(config: GpuCheck) -> list[dict[str, Any]]:
    """For each scheme the means over the seeds that are done, of all sources and of each."""
    rows = []
    for scheme in config.schemes:
        files = [Path(config.runs) / f"{scheme}-{seed}" / "eval.json" for seed in config.seeds]
        found = [storage.read_json(str(file)) for file in files if file.exists()]
        if found:
            by_source = {"mean": [one["mean"] for one in found]}
            for source in found[0]["sources"]:
                by_source[source] = [one["sources"][source] for one in found]
            rows.append(
                {"scheme": scheme, "seeds": len(found)}
                | {
                    f"{measure}, {source}": mean(one[measure] for one in values)
                    for source, values in by_source.items()
                    for measure in MEASURES
                }
            )
    return rows
