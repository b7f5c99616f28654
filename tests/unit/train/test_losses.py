from __future__ import annotations

from typing import Any

import torch

from more_ray.config import ModelConfig
from more_ray.data.packing import PackedBatch, pack
from more_ray.model.loading import load_classifier, load_tokenizer
from more_ray.model.reward_model import RewardModel
from more_ray.train.losses import RankingLosses


class Engine:
    """A model on its own, called as the engine calls it."""

    def __init__(self) -> None:
        tokenizer = load_tokenizer(ModelConfig(), 64)
        self.module = RewardModel(load_classifier(ModelConfig(), tokenizer, torch.float32, 0))

    def __call__(self, batch: PackedBatch) -> Any:
        return self.module(batch)


def test_a_margin_changes_the_loss_and_not_what_counts_as_correct() -> None:
    answers = [[5, 6, number] for number in range(7, 27)]
    chosen, rejected = answers[:10], answers[10:]
    engine: Any = Engine()
    plain_N, plain = RankingLosses(1, False)(engine, pack(chosen, rejected))
    wide = pack(chosen, rejected, margin=[100.0] * 10)
    loss_N, sums = RankingLosses(1, True)(engine, wide)
    assert (loss_N > plain_N).all()
    assert 0 < plain.correct_K < 10
    assert sums.correct_K == plain.correct_K
