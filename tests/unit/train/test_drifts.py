"""Training with a shared head and a drift for each source, in a real engine of one process.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from deepspeed import DeepSpeedEngine
from transformers import AutoModelForSequenceClassification, LlamaConfig

from more_ray.config import RunConfig
from more_ray.data.packing import PackedBatch, pack
from more_ray.model.heads import DriftingRewardModel
from more_ray.model.reward_model import RewardModel
from more_ray.objective.weighting import MinNorm
from more_ray.train.engine import DRIFTS, gather_weights, make_engine
from more_ray.train.losses import RankingLosses
from more_ray.train.step import micro_step

SOURCES, HIDDEN = 2, 16
LOSSES = RankingLosses(SOURCES, use_margin=False)


def batch(seed: int) -> PackedBatch:
    """Three pairs of each of two sources."""
    chosen, rejected = np.random.default_rng(seed).integers(3, 90, (2, 6, 6)).tolist()
    return pack(chosen, rejected, source=[0, 0, 0, 1, 1, 1])


def reward_model() -> RewardModel:
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=100, hidden_size=HIDDEN, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    return RewardModel(AutoModelForSequenceClassification.from_config(shape))


def engine_of(
    model: RewardModel | DriftingRewardModel, drift_decay: float = 0.1, stage: int = 0
) -> DeepSpeedEngine:
    config = RunConfig.model_validate(
        {
            "model": {"heads": "shared+drift", "drift_decay": drift_decay},
            "optimizer": {"lr": 1e-2, "weight_decay": 0.1},
            "train": {"zero_stage": stage},
        }
    )
    return make_engine(model, config, torch.float32, 20)


def trained(engine: DeepSpeedEngine, steps: range) -> dict[str, torch.Tensor]:
    engine.train()
    for step in steps:
        micro_step(engine, batch(step), MinNorm(), "global", LOSSES)
    weights = gather_weights(engine)
    assert weights is not None
    return weights


def test_without_drifts_it_is_the_plain_model_bit_for_bit(process_group: None) -> None:
    held = DriftingRewardModel(reward_model(), SOURCES)
    held.drifts.weight.requires_grad_(False)
    plain = trained(engine_of(reward_model()), range(5))
    found = trained(engine_of(held), range(5))
    assert not found.pop(DRIFTS).any()
    assert all(torch.equal(weight, plain[name]) for name, weight in found.items())
    assert found.keys() == plain.keys()


class Alone:
    """As much of an engine as losses need: DeepSpeed's does not let autograd be asked."""

    def __init__(self, model: DriftingRewardModel) -> None:
        self.module = model

    def __call__(self, batch: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        return self.module(batch)


def test_the_gradients_are_those_of_the_shared_head_by_autograd() -> None:
    """(8) with rewards by the own heads: the derivative of each source's loss for w alone."""
    model = DriftingRewardModel(reward_model(), SOURCES).train()
    torch.nn.init.normal_(model.drifts.weight)
    loss_N, sums = LOSSES(Alone(model), batch(0))
    for source in range(SOURCES):
        own = torch.arange(6) // 3 == source
        head = model.model.classifier.score.weight
        (gradient,) = torch.autograd.grad(loss_N[own].sum(), head, retain_graph=True)
        torch.testing.assert_close(sums.grad_KH[source], gradient[0], rtol=0, atol=1e-6)


def test_pairs_move_the_drift_of_their_own_source_only() -> None:
    model = DriftingRewardModel(reward_model(), SOURCES).train()
    reward_N2, _ = model(batch(0))
    reward_N2[:3].sum().backward()
    gradient_KH = model.drifts.weight.grad
    assert gradient_KH is not None
    assert gradient_KH[0].any()
    assert not gradient_KH[1].any()


def test_in_evaluation_a_pair_is_scored_by_every_head() -> None:
    model = DriftingRewardModel(reward_model(), SOURCES).eval()
    torch.nn.init.normal_(model.drifts.weight)
    with torch.no_grad():
        every_NC, z_N2H = model(batch(0))
        own_N2, _ = model.train()(batch(0))
    every_N2H = every_NC.unflatten(1, (2, SOURCES + 1))
    shared_1H = model.model.classifier.score.weight
    torch.testing.assert_close(every_N2H[..., 0], (z_N2H @ shared_1H.T)[..., 0])
    for source, rows in enumerate((slice(0, 3), slice(3, 6))):
        torch.testing.assert_close(every_N2H[rows, :, source + 1], own_N2[rows])


@pytest.mark.parametrize("stage", range(4))
def test_a_ridge_holds_the_drifts(process_group: None, stage: int) -> None:
    free, held = (
        trained(engine_of(DriftingRewardModel(reward_model(), SOURCES), ridge, stage), range(10))
        for ridge in (0.0, 100.0)
    )
    assert held[DRIFTS].norm() < 0.2 * free[DRIFTS].norm()


@pytest.mark.parametrize("stage", range(4))
def test_resumed_is_uninterrupted_bit_for_bit(
    process_group: None, tmp_path: Path, stage: int
) -> None:
    engine, resumed = (
        engine_of(DriftingRewardModel(reward_model(), SOURCES), stage=stage) for _ in range(2)
    )
    trained(engine, range(3))
    engine.save_checkpoint(str(tmp_path), "state")
    resumed.load_checkpoint(str(tmp_path), "state")
    expected, found = trained(engine, range(3, 6)), trained(resumed, range(3, 6))
    assert expected[DRIFTS].any()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
