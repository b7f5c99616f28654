"""Shares of votes against what most prefer: which probabilities come nearer to the truth?

    python jobs/benchmarks/soft_labels.py votes=[3,5,9] seeds=5

asks several people of each simulated population about each pair, fits heads to the shares and to
the labels of the majority on the same frozen trunk, and compares the probabilities of test pairs
with the true ones. Numbers are means over populations, their intervals Student's over seeds. Odd
numbers of votes leave no ties, so that both learn the same pairs.

Writes `results/soft_labels.json`.
"""

from __future__ import annotations

import sys
import tempfile

import numpy as np
from pydantic import Field
from record import record

from more_ray.config import ModelConfig
from more_ray.config.base import Section

MEASURES = {"to truth": "true_calibration_error", "accuracy": "accuracy"}


class SoftLabels(Section):
    model: ModelConfig = ModelConfig()
    """The trunk."""
    sources: int = Field(3, ge=2)
    """Populations of a simulated world."""
    pairs: int = Field(500, ge=20)
    """Training pairs of each population."""
    test_pairs: int = Field(500, ge=20)
    """Test pairs of each population."""
    votes: list[int] = Field([3, 5, 9])
    """People who are asked about each pair."""
    seeds: int = Field(5, ge=2)
    """Simulated worlds."""


def main() -> None:
    from more_ray.cli import load_config
    from more_ray.cluster import session

    config = load_config(SoftLabels, sys.argv[1:], __doc__ or "")
    rows = []
    with session(2, False):
        for votes in config.votes:
            for labels in ("hard", "soft"):
                seeds = range(config.seeds)
                found = [measured(config, votes, labels, seed) for seed in seeds]
                rows.append({"votes": votes, "labels": labels, **over_seeds(found)})
    record("soft_labels", config.model_dump(mode="json"), rows)


def measured(config: SoftLabels, votes: int, labels: str, seed: int) -> dict[str, float]:
    """What a calibration is worth, by the name of the measure."""
    from more_ray.calibrate.run import calibrate
    from more_ray.config import CalibrationConfig

    simulator = config.model_dump(include={"sources", "pairs", "test_pairs"})
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "output_dir": f"{folder}/run",
            "features": f"{folder}/features",
            "model": config.model,
            "labels": labels,
            "data": {
                "simulator": {**simulator, "votes": votes, "seed": seed},
                "prepared": f"{folder}/prepared",
            },
        }
        mean = calibrate(CalibrationConfig.model_validate(settings))["mean"]
    return {name: mean[key] for name, key in MEASURES.items()}


def over_seeds(found: list[dict[str, float]]) -> dict[str, float | list[float]]:
    """Means over seeds, and their intervals."""
    from more_ray.metrics.intervals import student

    columns: dict[str, float | list[float]] = {}
    for name in MEASURES:
        values = np.array([one[name] for one in found])
        columns |= {name: float(values.mean()), f"{name}, 95%": student(values)}
    return columns


if __name__ == "__main__":
    main()
