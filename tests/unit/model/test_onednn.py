"""Linear layers by oneDNN compute what PyTorch's own do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from more_ray.config import ModelConfig
from more_ray.data.packing import pack_answers
from more_ray.model import attention, loading, onednn
from more_ray.model.batch_format import PROBE
from more_ray.model.onednn import OneDnnLinear, filled_up, mkl_is_slow, use_onednn
from more_ray.model.reward_model import RewardModel


def same_layers(bias: bool) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    layer = nn.Linear(256, 384, bias=bias)
    other = copy.deepcopy(layer)
    use_onednn(other)
    assert type(other) is OneDnnLinear
    return layer, other


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(256,), (0, 256), (1, 256), (3, 50, 256)])
def test_outputs_and_gradients(bias: bool, shape: tuple[int, ...]) -> None:
    made = []
    for layer in same_layers(bias):
        x = torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape).requires_grad_()
        y = layer(x)
        y.square().sum().div(x.numel() or 1).backward()
        made.append([y, x.grad, *(one.grad for one in layer.parameters())])
    for ours, theirs in zip(made[1], made[0], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_frozen_layer_gets_no_gradient() -> None:
    _, layer = same_layers(bias=True)
    layer.requires_grad_(False)
    x = torch.ones(2, 256, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None


def test_other_precisions_are_left_to_pytorch() -> None:
    layers = [layer.bfloat16() for layer in same_layers(bias=True)]
    x = torch.ones(2, 256, dtype=torch.bfloat16)
    assert torch.equal(layers[0](x), layers[1](x))


def test_only_large_plain_layers_change_and_state_does_not() -> None:
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 1), Own(256, 256))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    use_onednn(model)
    assert [type(layer) for layer in model] == [OneDnnLinear, nn.Linear, Own]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_models_are_loaded_with_it_where_mkl_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig()
    tokenizer = loading.load_tokenizer(config, None)
    for slow in (True, False):
        monkeypatch.setattr(loading, "mkl_is_slow", lambda slow=slow: slow)
        model = loading.load_causal_lm(config, tokenizer, torch.float32, seed=0)
        assert any(type(layer) is OneDnnLinear for layer in model.modules()) == slow


def test_the_question_has_an_answer_on_every_machine() -> None:
    assert mkl_is_slow() in (True, False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_that_is_filled_up_has_the_same_rewards(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    config = ModelConfig()
    tokenizer = loading.load_tokenizer(config, None)
    classifier = loading.load_classifier(config, tokenizer, dtype, seed=0)
    model = RewardModel(classifier.to(dtype))
    model.use_attention("more_ray_packed")
    batch = pack_answers(PROBE)
    made = []
    for fill in (lambda tokens, model: tokens, lambda tokens, model: tokens + 5):
        monkeypatch.setattr(attention, "filled_up", fill)
        model.zero_grad()
        reward_A, _ = model.score(batch)
        reward_A.sum().backward()
        made.append([reward_A, *(one.grad for one in model.parameters() if one.grad is not None)])
    tolerance = (
        {"atol": 1e-5, "rtol": 1e-4} if dtype is torch.float32 else {"atol": 2e-2, "rtol": 2e-2}
    )
    for filled, as_is in zip(made[1], made[0], strict=True):
        torch.testing.assert_close(filled, as_is, **tolerance)


def test_few_numbers_of_tokens_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig()
    model = loading.load_causal_lm(
        config, loading.load_tokenizer(config, None), torch.float32, seed=0
    )
    monkeypatch.setattr(onednn, "mkl_is_slow", lambda: True)
    numbers = {filled_up(tokens, model) for tokens in range(1, 8_193)}
    assert len(numbers) < 200
    for tokens in range(1, 8_193):
        assert 0 <= filled_up(tokens, model) - tokens <= max(7, tokens / 32)
    monkeypatch.setattr(onednn, "mkl_is_slow", lambda: False)
    assert filled_up(1_001, model) == 1_001
    assert filled_up(1_001, model.bfloat16()) == 1_008
