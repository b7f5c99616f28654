from __future__ import annotations

from typing import Any

import numpy as np
import torch

from more_ray.config import ModelConfig
from more_ray.data.packing import PackedBatch, pack
from more_ray.model.loading import load_classifier, load_tokenizer
from more_ray.model.reward_model import RewardModel
from more_ray.train.losses import AnswerLosses, RankingLosses
from more_ray.train.sums import WeightedSums


class Engine:
    """A model on its own, called as the engine calls it."""

    def __init__(self) -> None:
        tokenizer = load_tokenizer(ModelConfig(), 64)
        self.module = RewardModel(load_classifier(ModelConfig(), tokenizer, torch.float32, 0))

    def __call__(self, batch: PackedBatch) -> Any:
        return self.module(batch)


CHOSEN, REJECTED = [[5, 6, 7], [5, 6, 8], [9, 10]], [[5, 6, 11], [5, 6, 12], [9, 13, 14]]


def test_a_weight_is_as_many_pairs() -> None:
    engine: Any = Engine()
    batch = pack(CHOSEN, REJECTED, [0, 1, 1], weight=[1.0, 3.0, 1.0])
    times = [0, 1, 1, 1, 2]
    twice = pack([CHOSEN[n] for n in times], [REJECTED[n] for n in times], [0, 1, 1, 1, 1])
    loss_N, sums = RankingLosses(2, False)(engine, batch)
    repeated_N, expected = RankingLosses(2, False)(engine, twice)
    torch.testing.assert_close(loss_N.sum(), repeated_N.sum())
    for name in ("grad_KH", "loss_K", "correct_K"):
        torch.testing.assert_close(getattr(sums, name), getattr(expected, name))
    assert isinstance(sums, WeightedSums)
    assert not isinstance(expected, WeightedSums)
    assert sums.weight_K.tolist() == expected.count_K.tolist() == [1, 4]
    assert (sums.count_K.tolist(), sums.weight2_K.tolist()) == ([1, 2], [1, 10])


def test_weights_of_answers_are_those_of_their_likelihoods() -> None:
    def engine(batch: PackedBatch) -> Any:
        return torch.tensor([[2.0, 1.0], [4.0, 2.0]]), None

    def answers(weight: list[float] | None) -> PackedBatch:
        lengths = np.array([[1, 2, 0], [1, 2, 0]])
        zeros = np.zeros(2)
        return PackedBatch.from_arrays(np.arange(6), lengths, zeros, zeros, weight=weight)

    loss_N, sums = AnswerLosses(1)(engine, answers([1.0, 0.5]))
    assert loss_N.tolist() == [2, 2]
    assert (sums.loss_K.tolist(), sums.correct_K.tolist()) == ([4], [1])
    assert AnswerLosses(1)(engine, answers(None))[1].loss_K.tolist() == [6]


def test_half_of_a_tie_is_correct() -> None:
    engine: Any = Engine()
    _, sums = RankingLosses(1, False)(engine, pack(CHOSEN, REJECTED, share=[0.5] * 3))
    assert sums.correct_K.tolist() == [1.5]


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
