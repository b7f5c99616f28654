"""One attention call for all answers = one call for each, held on a CPU by a plain reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForSequenceClassification, GPTNeoXConfig, LlamaConfig
from varlen_reference import varlen_reference

from more_ray.data.layout import Layout, Segment
from more_ray.data.packing import pack
from more_ray.model import attention
from more_ray.model.architecture import probe_model
from more_ray.model.attention import VARLEN_ATTENTION, packed_attention, varlen_attention
from more_ray.model.batch_format import cannot_use_varlen, packed_attention_on
from more_ray.model.reward_model import RewardModel

SHAPE = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "num_labels": 1,
}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE, num_key_value_heads=2),
    "gpt-neox": GPTNeoXConfig(**SHAPE),
}


@pytest.fixture(autouse=True)
def _reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "varlen_attn", varlen_reference)
    monkeypatch.setattr(attention, "_GROUPED", {"enable_gqa": True})


@settings(max_examples=40, deadline=None)
@given(
    prompts=st.lists(
        st.tuples(st.integers(0, 6), st.lists(st.integers(1, 7), min_size=1, max_size=5)),
        min_size=1,
        max_size=4,
    ),
    heads=st.sampled_from([(4, 4), (4, 2), (3, 1)]),
    seed=st.integers(0, 1_000),
)
def test_varlen_attention_is_packed_attention(
    prompts: list[tuple[int, list[int]]], heads: tuple[int, int], seed: int
) -> None:
    layout = Layout.of([Segment(shared, tuple(own)) for shared, own in prompts])
    tokens = len(layout.position_ids_T)
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = [normal(1, number, tokens, 8) for number in (heads[0], heads[1], heads[1])]
    weight = normal(1, tokens, heads[0], 8)
    results = []
    for function in (packed_attention, varlen_attention):
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        output, _ = function(nn.Module(), *inputs, None, 0.3, packed=layout)
        (output * weight).sum().backward()
        results.append([output, *(one.grad for one in inputs)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_model_has_the_same_scores_and_gradients(name: str, checkpointing: bool) -> None:
    batch = pack([[5, 6, 7, 8], [1], [9] * 30], [[5, 6, 9], [2, 3], [9] * 20 + [4]])
    results = []
    for chosen in (attention.PACKED_ATTENTION, VARLEN_ATTENTION):
        torch.manual_seed(0)
        model = RewardModel(AutoModelForSequenceClassification.from_config(CONFIGS[name])).double()
        if checkpointing:
            model.classifier.gradient_checkpointing_enable({"use_reentrant": False})
        model.train().use_attention(chosen)
        reward_N2, _ = model(batch)
        reward_N2.square().sum().backward()
        results.append([reward_N2, *(one.grad for one in model.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)  # the head is in fp32


def test_the_kernel_is_used_only_where_its_numbers_are_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = AutoModelForSequenceClassification.from_config(CONFIGS["llama"])
    assert packed_attention_on(model, torch.device("cpu")) == attention.PACKED_ATTENTION
    assert cannot_use_varlen(probe_model(model)) is None

    def from_the_first_key(*arguments: Any, **options: Any) -> Tensor:
        return varlen_reference(*arguments, **{**options, "window_size": (-1, -1)})

    monkeypatch.setattr(attention, "varlen_attn", from_the_first_key)
    assert "different results" in cannot_use_varlen(probe_model(model))

    def without_a_kernel(*arguments: Any, **options: Any) -> Tensor:
        raise RuntimeError("no kernel\nfor this device")

    monkeypatch.setattr(attention, "varlen_attn", without_a_kernel)
    assert cannot_use_varlen(probe_model(model)) == "no kernel"


class Launches(TorchDispatchMode):
    """Counts the operations that compute something: each is a launch on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if not func.is_view and func is not torch.ops.aten._unsafe_view.default:
            self.names.append(str(func))
        return output


@torch.library.custom_op("more_ray_tests::varlen", mutates_args=())
def one_launch(
    query: Tensor, key: Tensor, value: Tensor, query_ends: Tensor, key_ends: Tensor, scale: float
) -> Tensor:
    return varlen_reference(
        *(query, key, value, query_ends, key_ends, 10**6, 10**6),
        scale=scale,
        window_size=(-1, 0),
        enable_gqa=True,
    )


def test_a_layer_launches_few_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def varlen(
        q: Tensor, k: Tensor, v: Tensor, q_ends: Tensor, k_ends: Tensor, *_: int, **options: Any
    ) -> Tensor:
        return one_launch(q, k, v, q_ends, k_ends, options["scale"])

    monkeypatch.setattr(attention, "varlen_attn", varlen)
    batch = pack([[5, 6, 7 + n % 3, 8] for n in range(80)], [[5, 6, 2, n] for n in range(80)])
    launches = {}
    for blocks in (2, 3):
        config = LlamaConfig(**{**SHAPE, "num_hidden_layers": blocks}, num_key_value_heads=2)
        model = RewardModel(AutoModelForSequenceClassification.from_config(config))
        model.use_attention(VARLEN_ATTENTION)
        with torch.no_grad(), Launches() as counted:
            model(batch)
        launches[blocks] = counted.names
    assert 10 < len(launches[3]) - len(launches[2]) <= 40
