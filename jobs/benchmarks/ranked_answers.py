"""Ranked answers to a prompt: what packing them once saves, beside pair after pair.

python jobs/benchmarks/ranked_answers.py 'data.sources=[trees=FILE]' model.path=PATH model.layers=12

For prompts with K answers: tokens that the model computes either way (pair by pair, a prompt comes
once for every pair, not twice), and the time of a forward and a backward pass, in turn, `rounds`
times. The rewards and the loss of both ways are compared, too.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import Any

import numpy as np
from pydantic import Field

from more_ray.config import DataConfig, ModelConfig
from more_ray.config.base import Section


class RankedBenchmark(Section):
    model: ModelConfig = ModelConfig()
    data: DataConfig
    """A source with ranked answers."""
    prompts: int = Field(4, ge=1)
    """Prompts of a batch that is timed."""
    rounds: int = Field(5, ge=1)
    """How often each way is timed."""


def main() -> None:
    from more_ray.cli import load_config

    config = load_config(RankedBenchmark, sys.argv[1:], __doc__ or "")
    import torch
    from record import record

    from more_ray.cluster import session
    from more_ray.data.prepare import prepare
    from more_ray.device import use_threads
    from more_ray.model.batch_format import choose_attention
    from more_ray.model.loading import load_classifier
    from more_ray.model.reward_model import RewardModel
    from more_ray.model.tokenizer import training_tokenizer

    tokenizer = training_tokenizer(config.model, config.data.max_length)
    with session(1, False):
        prepared = prepare(config.data, tokenizer)
    use_threads(1)
    classifier = load_classifier(config.model, tokenizer, torch.float32, seed=0)
    model = RewardModel(classifier).train()
    model.use_attention(choose_attention(classifier, "auto", "cpu"))
    by_answers: dict[int, list[list[dict[str, Any]]]] = defaultdict(list)
    for pairs in records(prepared):
        by_answers[answers_of(pairs)].append(pairs)
    rows = [measured(model, answers, by_answers[answers], config) for answers in sorted(by_answers)]
    record("ranked_answers", config.model_dump(mode="json"), rows)


def records(prepared: Any) -> list[list[dict[str, Any]]]:
    """The training pairs of every record of all sources."""
    from more_ray.data.prepared import TOKENS

    found = []
    for name in prepared.names:
        file, first_rows = prepared.file(name, "train"), prepared.first_rows(name)
        pairs = file.take(np.arange(len(file)), TOKENS).to_pylist()
        starts = np.arange(len(file)) if first_rows is None else first_rows
        ends = np.append(starts[1:], len(file))
        found += [pairs[start:end] for start, end in zip(starts, ends, strict=True)]
    return found


def answers_of(pairs: list[dict[str, Any]]) -> int:
    from more_ray.data.ranked import prompt_of

    return len(prompt_of(pairs).answers)


def measured(
    model: Any, answers: int, records: list[list[dict[str, Any]]], config: RankedBenchmark
) -> dict[str, Any]:
    """The row of prompts with so many answers."""
    one_by_one = [[pair] for pairs in records for pair in pairs]
    tokens = [len(batch_of(way).input_ids_T) for way in (one_by_one, records)]
    few = records[: config.prompts]
    batches = [batch_of([[pair] for pairs in few for pair in pairs]), batch_of(few)]
    seconds = np.array(
        [[step(model, batch)[0] for batch in batches] for _ in range(config.rounds + 1)]
    )[1:]
    (_, reward_N2), (_, once_N2) = (step(model, batch) for batch in batches)
    losses = [np.logaddexp(0, way[:, 1] - way[:, 0]).mean() for way in (reward_N2, once_N2)]
    return {
        "answers": answers,
        "prompts": len(records),
        "pairs": len(one_by_one),
        "tokens, pair by pair": tokens[0],
        "tokens, once": tokens[1],
        "fewer": tokens[0] / tokens[1],
        "times faster": float(np.median(seconds[:, 0] / seconds[:, 1])),
        "losses differ": float(abs(losses[0] - losses[1])),
    }


def batch_of(records: list[list[dict[str, Any]]]) -> Any:
    from more_ray.data.packing import PackedBatch
    from more_ray.data.ranked import flat, prompt_of

    row = flat([prompt_of(pairs) for pairs in records])
    zeros = np.zeros(sum(map(len, records)))
    lengths = np.asarray(row["lengths"])
    return PackedBatch.from_arrays(
        row["input_ids"], lengths, zeros, zeros, answers=row["answers"], pair=row["pair"]
    )


def step(model: Any, batch: Any) -> tuple[float, np.ndarray]:
    """The seconds of a forward and a backward pass, and the rewards `[N, 2]`."""
    from more_ray.objective.ranking import ranking_loss

    model.zero_grad()
    started = time.perf_counter()
    reward_N2, _ = model(batch)
    ranking_loss(reward_N2[:, 0] - reward_N2[:, 1]).mean().backward()
    return time.perf_counter() - started, reward_N2.detach().numpy()


if __name__ == "__main__":
    main()
