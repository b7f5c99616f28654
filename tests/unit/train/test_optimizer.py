"""AdamW on fp32 weights, in a real engine of one process."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from deepspeed import DeepSpeedEngine
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForSequenceClassification, LlamaConfig

from more_ray.config import RunConfig
from more_ray.data.packing import pack
from more_ray.model.attention import PACKED_ATTENTION
from more_ray.model.reward_model import RewardModel
from more_ray.train.engine import make_engine


def make(dtype: torch.dtype, clip: float = 1.0, accumulation: int = 1) -> DeepSpeedEngine:
    config = RunConfig.model_validate(
        {
            "optimizer": {"lr": 1e-3, "clip": clip, "weight_decay": 0.1},
            "train": {"accumulation": accumulation},
        }
    )
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=4, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    classifier = AutoModelForSequenceClassification.from_config(shape, dtype=torch.bfloat16)
    model = RewardModel(classifier.to(dtype))
    model.use_attention(PACKED_ATTENTION)
    return make_engine(model, config, dtype, 20)


def backward(engine: DeepSpeedEngine, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    chosen, rejected = torch.randint(3, 90, (2, 4, 6), generator=generator).tolist()
    reward_N2, _ = engine(pack(chosen, rejected))
    loss = -torch.nn.functional.logsigmoid(reward_N2[:, 0] - reward_N2[:, 1]).mean()
    engine.backward(loss)
    return loss.item()


def step(engine: DeepSpeedEngine, seed: int) -> float:
    loss = backward(engine, seed)
    engine.step()
    return loss


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.count[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_is_few_operations_and_one_wait(process_group: None, dtype: torch.dtype) -> None:
    engine = make(dtype)
    step(engine, 0)
    backward(engine, 1)
    with Operations() as operations:
        engine.step()
    assert sum(operations.count.values()) <= 20
    assert operations.count["_local_scalar_dense"] <= 1
    assert operations.count["_fused_adamw_"] == 1


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_fp32_weights_move_as_a_model_in_fp32_would(process_group: None, clip: float) -> None:
    rounded, exact = make(torch.bfloat16, clip), make(torch.float32, clip)
    for seed in range(12):
        assert step(rounded, seed) == pytest.approx(step(exact, seed), abs=2e-2)
    distance, moved = 0.0, 0.0
    first = make(torch.float32)
    for master, weight, before in zip(
        rounded.optimizer._masters,
        exact.module.parameters(),
        first.module.parameters(),
        strict=True,
    ):
        distance += (master - weight).square().sum().item()
        moved += (before - weight).square().sum().item()
    assert distance < 0.05 * moved
    for master, weight in zip(rounded.optimizer._masters, rounded.module.parameters(), strict=True):
        assert torch.equal(master.to(torch.bfloat16), weight)


def test_gradients_of_micro_batches_are_summed_in_fp32(process_group: None) -> None:
    engine = make(torch.bfloat16, accumulation=2)
    step(engine, 0)
    gradients = [one.grad for one in engine.module.parameters()]
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


def test_a_saved_optimizer_goes_on_bit_for_bit(process_group: None, tmp_path: Any) -> None:
    engine, resumed = make(torch.bfloat16), make(torch.bfloat16)
    for seed in range(3):
        step(engine, seed)
    engine.save_checkpoint(str(tmp_path), "state")
    resumed.load_checkpoint(str(tmp_path), "state")
    for seed in range(3, 6):
        assert step(engine, seed) == step(resumed, seed)
    for one, other in zip(engine.optimizer._masters, resumed.optimizer._masters, strict=True):
        assert torch.equal(one, other)
