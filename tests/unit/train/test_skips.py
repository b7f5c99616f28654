"""Steps with a loss or gradient that is not finite, on a real engine of one process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from deepspeed import DeepSpeedEngine
from torch import Tensor
from transformers import AutoModelForSequenceClassification, LlamaConfig

from more_ray.config import RunConfig
from more_ray.data.packing import PackedBatch, pack
from more_ray.model.reward_model import RewardModel
from more_ray.objective.weighting import MinNorm
from more_ray.train.engine import gather_weights, make_engine
from more_ray.train.losses import RankingLosses
from more_ray.train.skips import Skips
from more_ray.train.step import micro_step
from more_ray.train.sums import SourceSums

POISON = 99
"""A token whose embedding is not finite."""


def batch(seed: int, token: int = 5) -> PackedBatch:
    """Two pairs of each of two sources; `token` is in a pair of the second."""
    rng = np.random.default_rng(seed)
    chosen, rejected = rng.integers(3, 90, (2, 4, 6)).tolist()
    chosen[3][2] = token
    return pack(chosen, rejected, source=[0, 0, 1, 1])


class Trunk(RankingLosses):
    """Finite losses and head gradients, of which the trunk's gradient is not finite."""

    def __call__(self, engine: DeepSpeedEngine, batch: PackedBatch) -> tuple[Tensor, SourceSums]:
        loss_N, sums = super().__call__(engine, batch)
        return loss_N + (0 * loss_N).square().sqrt(), sums


GOOD, BAD = RankingLosses(2, False), Trunk(2, False)
Step = tuple[PackedBatch, RankingLosses]


class Trained:
    """A small model after some micro-steps."""

    def __init__(
        self,
        steps: list[Step],
        dtype: torch.dtype = torch.float32,
        momentum: float = 0,
        **train: object,
    ) -> None:
        config = RunConfig.model_validate(
            {
                "train": train,
                "optimizer": {"lr": 1e-2, "weight_decay": 1.0},
                "objective": {"momentum": momentum},
            }
        )
        torch.manual_seed(0)
        shape = LlamaConfig(
            vocab_size=100, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_labels=1, pad_token_id=0,
        )  # fmt: skip
        classifier = AutoModelForSequenceClassification.from_config(shape, dtype=dtype)
        with torch.no_grad():
            classifier.get_input_embeddings().weight[POISON] = torch.inf
        engine = make_engine(RewardModel(classifier), config, dtype, 20)
        self.weighting = MinNorm(momentum=config.objective.momentum)
        self.skips = Skips(engine, ["a", "b"])
        self.lines = []
        for one, losses in steps:
            stats = micro_step(engine, one, self.weighting, "global", losses)
            self.lines.append((stats, self.skips.look(stats)))
        self.weights, self.lr = gather_weights(engine), engine.get_lr()

    def same_as(self, other: Trained) -> bool:
        return self.lr == other.lr and all(
            torch.equal(weight.nan_to_num(), other.weights[name].nan_to_num())
            for name, weight in self.weights.items()
        )


SETTINGS: list[dict[str, Any]] = [
    *({"zero_stage": stage} for stage in range(4)),
    *({"zero_stage": stage, "dtype": torch.bfloat16} for stage in range(4)),
    *({"zero_stage": stage, "offload": True} for stage in (2, 3)),
]


FIRST, LAST = (batch(0), GOOD), (batch(2), GOOD)


@pytest.fixture(scope="module", params=SETTINGS, ids=str)
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.fixture(scope="module")
def without(process_group: None, settings: dict[str, Any]) -> Trained:
    """What two good steps make, both of which count."""
    both = Trained([FIRST, LAST], **settings)
    assert not both.same_as(Trained([FIRST], **settings))
    return both


@pytest.mark.parametrize("bad", [(batch(1, POISON), GOOD), (batch(1), BAD)], ids=["loss", "trunk"])
def test_a_skipped_step_leaves_no_trace(
    settings: dict[str, Any], without: Trained, bad: Step
) -> None:
    skipping = Trained([FIRST, bad, LAST], **settings)
    assert [skipped for _, skipped in skipping.lines] == [False, True, False]
    assert skipping.same_as(without)
    for name, weight in skipping.weights.items():
        assert torch.isfinite(weight).all() == ("embed" not in name)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_stage_takes_the_same_steps_in_bf16(process_group: None, stage: int) -> None:
    whole, parted = (Trained([FIRST, LAST], torch.bfloat16, zero_stage=one) for one in (0, stage))
    assert parted.same_as(whole)


@pytest.mark.parametrize("stage", range(4))
def test_accumulated_micro_batches_are_skipped_together(process_group: None, stage: int) -> None:
    good, bad = (batch(0), GOOD), (batch(1, POISON), GOOD)
    settings = {"zero_stage": stage, "accumulation": 2}
    skipping = Trained([bad, good, good, good], **settings)
    assert [skipped for _, skipped in skipping.lines] == [False, True, False, False]
    assert skipping.skips.in_a_row == 0
    assert np.isfinite(skipping.lines[-1][0].loss)


def test_the_average_gradient_is_kept(process_group: None) -> None:
    first = (batch(0), GOOD)
    without = Trained([first], momentum=0.5)
    skipping = Trained([first, (batch(1, POISON), GOOD)], momentum=0.5)
    np.testing.assert_array_equal(skipping.weighting.average_KH, without.weighting.average_KH)


def test_who_is_to_blame(process_group: None) -> None:
    first = (batch(0), GOOD)
    loss = Trained([first, (batch(1, POISON), GOOD), (batch(2, POISON), GOOD)])
    stats, _ = loss.lines[-1]
    assert stats.finite_K.tolist() == [True, False]
    assert np.isfinite(stats.loss_K[0])
    assert np.isnan(stats.lam_K).all()
    assert loss.skips.in_a_row == 2
    assert loss.skips.reason(7) == (
        "2 optimizer steps in a row were skipped, the last at step 7, because the loss or head "
        "gradient of b was not finite"
    )
    assert "a gradient within the model was not finite" in Trained([(first[0], BAD)]).skips.reason(
        0
    )
