"""One model is learnt, however the work is dealt out: to workers, ZeRO stages, micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from own_workers import Arrays, Trained

Train = Callable[..., Trained]
LORA = {"lora": {"rank": 4}}


def assert_close(some: Arrays, others: Arrays, atol: float) -> None:
    assert some.keys() == others.keys()
    for name, value in some.items():
        np.testing.assert_allclose(value, others[name], rtol=0, atol=atol, err_msg=name)


def assert_same(some: Trained, others: Trained, rtol: float = 1e-7) -> None:
    """AdamW hides a gradient's scale from the weights: so the first one is compared as well."""
    np.testing.assert_allclose(some.lam_SK, others.lam_SK, rtol=0, atol=1e-4)
    np.testing.assert_allclose(some.loss_SK, others.loss_SK, rtol=rtol, atol=1e-5)
    np.testing.assert_allclose(some.score_N2, others.score_N2, rtol=rtol, atol=1e-5)
    assert_close(some.gradient, others.gradient, 1e-6)
    assert some.gradient


@pytest.fixture(scope="module")
def reference(train: Train) -> Trained:
    """What two workers learn without ZeRO."""
    return train(train={"workers": 2})


def test_another_lam_would_be_noticed(reference: Trained, train: Train) -> None:
    """The runs learn enough for what is compared below to depend on lam."""
    uniform = train(train={"workers": 2}, objective={"scheme": "uniform"})
    assert np.abs(reference.lam_SK - 1 / 3).max() > 0.1
    assert np.abs(reference.score_N2 - uniform.score_N2).max() > 1e-2
    assert reference.loss_SK[-1].mean() < reference.loss_SK[0].mean()


def test_one_worker_or_two(reference: Trained, train: Train) -> None:
    assert_same(train(train={"workers": 1}), reference)


def test_one_worker_or_two_where_sources_give_unequal_numbers_of_pairs(train: Train) -> None:
    one, two = (train(data={"resample": False}, train={"workers": count}) for count in (1, 2))
    assert_same(one, two)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_zero_stage(reference: Trained, train: Train, stage: int) -> None:
    assert_same(train(train={"workers": 2, "zero_stage": stage}), reference)


def test_one_lam_for_all_micro_batches_makes_accumulation_exact(
    reference: Trained, train: Train
) -> None:
    """Two micro-batches of 4 pairs a source hold the pairs of one of 8."""
    halves = {"workers": 2, "pairs_per_source": 4, "accumulation": 2}
    assert_same(train(objective={"scope": "batch"}, train=halves), reference)


def test_both_passes_over_a_batch_drop_the_same(train: Train) -> None:
    """With one micro-batch a step, scope=batch is global, which makes only one pass."""
    model = {"lora": {"rank": 4, "dropout": 0.5}}
    two, one = (train(model=model, objective={"scope": scope}) for scope in ("batch", "global"))
    assert_same(two, one)
    without = train(model=LORA)
    assert np.abs(without.score_N2 - one.score_N2).max() > 1e-3


@pytest.mark.parametrize(("count", "stage"), [(2, 0), (2, 3), (1, 3)])
def test_lora(train: Train, count: int, stage: int) -> None:
    alone = train(model=LORA)
    assert_same(train(model=LORA, train={"workers": count, "zero_stage": stage}), alone)
    assert all("lora" in name or "score" in name for name in alone.gradient)


@pytest.mark.parametrize(("count", "stage"), [(2, 0), (2, 1), (2, 2), (2, 3)])
def test_a_drift_for_each_source(train: Train, count: int, stage: int) -> None:
    model = {"heads": "shared+drift", "drift_decay": 0.1}
    alone = train(model=model)
    assert_same(train(model=model, train={"workers": count, "zero_stage": stage}), alone)
    assert alone.score_N2.shape[1] == 2 * (3 + 1)
    own = alone.weights["drifts"]
    assert (np.abs(own).max(axis=1) > 0).all()


def test_dpo(train: Train) -> None:
    dpo = {"objective": {"loss": "dpo", "beta": 0.1}, "optimizer": {"lr": 3e-4}}
    alone = train(**dpo)
    assert_same(train(**dpo, train={"workers": 2, "zero_stage": 3}), alone)
    np.testing.assert_allclose(alone.loss_SK[0], np.log(2), rtol=0, atol=1e-6)
    assert alone.loss_SK[-1].mean() < np.log(2)
    assert np.ptp(alone.lam_SK[0]) > 0.1


@pytest.mark.parametrize("stage", [0, 3])
def test_answers(train: Train, stage: int) -> None:
    """Losses and scores are sums over an answer's tokens: hundreds, so their 1e-5 is relative."""
    sft: dict[str, Any] = {
        "objective": {"loss": "sft", "scheme": "proportional"},
        "data": {"resample": False},
    }
    assert_same(train(**sft, train={"workers": 2, "zero_stage": stage}), train(**sft), rtol=1e-6)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_zero_stage_takes_the_same_steps_in_bf16(train: Train, stage: int) -> None:
    """Bit for bit, unless they clip: they sum the norm in different orders."""
    whole, parted = (
        train(optimizer={"clip": 0}, train={"workers": 2, "precision": "bf16", "zero_stage": one})
        for one in (0, stage)
    )
    assert_close(parted.weights, whole.weights, 0)
    np.testing.assert_array_equal(parted.lam_SK, whole.lam_SK)
    np.testing.assert_array_equal(parted.score_N2, whole.score_N2)
