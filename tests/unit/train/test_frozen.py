"""Heads trained on hidden states alone, by the steps of a whole model.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from linear_world import drawn_heads, labelled
from torch import Tensor

from more_ray.calibrate.heads import fit_heads
from more_ray.calibrate.pairs import make_pairs
from more_ray.config import RunConfig
from more_ray.data.mixture import Mixture
from more_ray.errors import UserError
from more_ray.model.heads import DriftingRewardModel
from more_ray.model.heads_file import Ridge
from more_ray.objective.min_norm import min_norm_weights
from more_ray.train.frozen import FeatureBatch, FrozenTrunk, TrainingPairs, train_heads

HIDDEN, SIZES = 4, (60, 40, 50)
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def dz_NH() -> np.ndarray:
    rng = np.random.default_rng(0)
    truth = drawn_heads(rng, len(SIZES), HIDDEN, 1.0, 0.7)
    parts = zip(SIZES, truth.own_KH, strict=True)
    return np.concatenate([labelled(rng, size, head_H) for size, head_H in parts])


def training_pairs(
    dz_NH: np.ndarray, per_step: int, resample: bool, steps: int, **labels: np.ndarray
) -> TrainingPairs:
    z_N2H = torch.from_numpy(np.stack([dz_NH, np.zeros_like(dz_NH)], axis=1)).float()
    source_N = torch.from_numpy(np.repeat(np.arange(len(SIZES)), SIZES))
    zero_N, one_N = torch.zeros(len(dz_NH)), torch.ones(len(dz_NH))
    mixture = Mixture(NAMES, SIZES, per_step, 10_000, resample, seed=0)
    given = {name: torch.from_numpy(value_N) for name, value_N in labels.items()}
    return TrainingPairs(FeatureBatch(z_N2H, source_N, zero_N, one_N, **given), mixture)


def settings(**sections: dict[str, Any]) -> RunConfig:
    plain = {
        "model": {"trunk": "frozen"},
        "objective": {"scheme": "uniform"},
        "optimizer": {"lr": 1e-2, "clip": 0.0, "schedule": "constant"},
    }
    merged = {name: plain.get(name, {}) | sections.get(name, {}) for name in plain | sections}
    return RunConfig.model_validate(merged)


def zero_head() -> FrozenTrunk:
    return FrozenTrunk(torch.zeros(1, HIDDEN))


@pytest.mark.parametrize("soft", [False, True])
def test_training_ends_at_the_convex_fit(soft: bool, dz_NH: np.ndarray) -> None:
    """All pairs in every step: what is left is the optimum of the same objective."""
    model = DriftingRewardModel(zero_head(), len(SIZES))
    config = settings(model={"trunk": "frozen", "heads": "shared+drift", "drift_decay": 0.05})
    # Without resampling a step of 50 pairs a source takes all 150.
    rng, labels = np.random.default_rng(1), {}
    if soft:
        share_N, weight_N = rng.uniform(0.5, 1, len(dz_NH)), rng.uniform(0.2, 3, len(dz_NH))
        labels = {"share_N": share_N.astype("f4"), "weight_N": weight_N.astype("f4")}
    pairs = training_pairs(dz_NH, 50, resample=False, steps=3_000, **labels)
    for _ in train_heads(model, config, pairs, 3_000):
        pass
    source_N = np.repeat(np.arange(len(SIZES)), SIZES)
    given = (labels.get("share_N"), labels.get("weight_N"))
    of_fit = make_pairs(dz_NH, source_N, NAMES, "uniform", *given)
    expected = fit_heads(of_fit, Ridge(1e-9, 0.05))
    found_H = model.score_head.weight.detach().numpy()[0]
    np.testing.assert_allclose(found_H, expected.shared_H, atol=2e-3)
    np.testing.assert_allclose(model.drifts.weight.detach(), expected.drift_KH, atol=2e-3)


def test_lam_is_that_of_the_sources_gradients_by_autograd(dz_NH: np.ndarray) -> None:
    model, pairs = zero_head(), training_pairs(dz_NH, 8, resample=True, steps=1)
    batch = pairs.batch(0)
    reward_N2, _ = model(batch)
    loss_N = -torch.nn.functional.logsigmoid(reward_N2[:, 0] - reward_N2[:, 1])
    gradients: list[Tensor] = [
        torch.autograd.grad(
            loss_N[batch.source_N == source].mean(), model.score_head.weight, retain_graph=True
        )[0][0]
        for source in range(len(SIZES))
    ]
    grad_KH = torch.stack(gradients).double().numpy()
    (line,) = train_heads(model, settings(objective={"scheme": "more"}), pairs, 1)
    np.testing.assert_allclose(
        list(line["lam"].values()), min_norm_weights(grad_KH @ grad_KH.T), atol=1e-6
    )


def test_accumulated_micro_batches_are_one_step(dz_NH: np.ndarray) -> None:
    one, two = zero_head(), zero_head()
    for _ in train_heads(one, settings(), training_pairs(dz_NH, 8, True, 4), 4):
        pass
    halves = settings(train={"accumulation": 2})
    for _ in train_heads(two, halves, training_pairs(dz_NH, 4, True, 8), 8):
        pass
    torch.testing.assert_close(two.score_head.weight, one.score_head.weight, rtol=0, atol=1e-6)


def test_hidden_states_that_are_not_finite_end_the_run_in_one_line(dz_NH: np.ndarray) -> None:
    broken_NH = np.where(np.arange(len(dz_NH))[:, None] < SIZES[0], np.nan, dz_NH)
    lines = train_heads(zero_head(), settings(), training_pairs(broken_NH, 8, True, 20), 20)
    with pytest.raises(UserError, match=r"10 optimizer steps in a row.*head gradient of a was not"):
        list(lines)


@pytest.mark.parametrize(
    ("key", "value"),
    [("zero_stage", 2), ("compile", True), ("gradient_checkpointing", True), ("eval_every", 5)],
)
def test_settings_of_a_whole_model_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"train.{key}: cannot be used with model.trunk=frozen"):
        settings(train={key: value})
