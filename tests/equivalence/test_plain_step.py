"""The first step of a run beside plain PyTorch: autograd, padded rows, torch's AdamW.

Legend: K sources, R ranks, H hidden size, C columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import own_workers
import pytest
import torch
import torch.nn.functional as F
from own_workers import Task, Workers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchjd.aggregation import UPGradWeighting
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from more_ray.config import ModelConfig
from more_ray.model.loading import load_classifier
from more_ray.objective.min_norm import min_norm_weights
from more_ray.objective.weighting import Fixed, MinNorm
from more_ray.train.exchange import solve
from more_ray.train.sums import SourceSums

Row = dict[str, Any]


@pytest.fixture
def classifier(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """What every run begins with."""
    return load_classifier(ModelConfig(), tokenizer, torch.float32, seed=0)


def source_losses(classifier: PreTrainedModel, rows: Sequence[Row]) -> Tensor:
    """`[K]`, the mean ranking loss of each source's pairs in some micro-batches."""
    answers: list[Tensor] = []
    for row in rows:
        tokens = iter(row["input_ids"])
        for shared, *own in np.reshape(row["lengths"], (-1, 3)):
            prompt = list(islice(tokens, shared))
            answers += [torch.tensor(prompt + list(islice(tokens, length))) for length in own]
    pad = classifier.config.pad_token_id
    input_ids = pad_sequence(answers, batch_first=True, padding_value=pad)
    mask = pad_sequence([torch.ones(len(answer)) for answer in answers], batch_first=True)
    reward_N2 = classifier(input_ids=input_ids, attention_mask=mask).logits.reshape(-1, 2)
    margin_N = torch.tensor([margin for row in rows for margin in row["margin"]])
    loss_N = F.softplus(margin_N - (reward_N2[:, 0] - reward_N2[:, 1]))
    source_N = torch.tensor([source for row in rows for source in row["source"]])
    return torch.stack([loss_N[source_N == source].mean() for source in source_N.unique()])


def lam(task: Task, grad_KH: Tensor, loss_K: Tensor) -> np.ndarray:
    scheme, sizes = task.config.objective.scheme, np.array(task.mixture.sizes)
    if scheme == "more":
        return min_norm_weights((grad_KH @ grad_KH.T).numpy())
    if scheme == "group_dro":
        return (task.config.objective.dro_step * loss_K).softmax(dim=0).detach().numpy()
    if scheme == "torchjd:UPGrad":
        weight_K = UPGradWeighting()(grad_KH @ grad_KH.T).numpy()
        return weight_K / weight_K.sum()
    return sizes / sizes.sum() if scheme == "proportional" else np.full(len(sizes), 1 / len(sizes))


def plain_gradient(classifier: PreTrainedModel, task: Task) -> dict[str, Tensor]:
    """The gradient of all micro-batches with one lam, or the mean over ranks with a lam each."""
    scope = task.config.objective.scope
    groups = task.batches if scope == "rank" else [[row for own in task.batches for row in own]]
    for rows in groups:
        loss_K = source_losses(classifier, rows)
        grads = [
            torch.autograd.grad(loss, classifier.score.weight, retain_graph=True)[0]
            for loss in loss_K
        ]
        lam_K = loss_K.new_tensor(lam(task, torch.cat(grads).double(), loss_K))
        ((lam_K * loss_K).sum() / len(groups)).backward()
    return {name: parameter.grad for name, parameter in classifier.named_parameters()}


UNIFORM, UNEQUAL = {"scheme": "uniform"}, {"resample": False}
HALVES = {"pairs_per_source": 4, "accumulation": 2, "max_steps": 2}
CASES: dict[str, dict[str, Any]] = {
    "plain mean": {"objective": UNIFORM},
    "plain mean of unequal sources": {"objective": UNIFORM, "data": UNEQUAL},
    "MultiTask": {"objective": {"scheme": "proportional"}, "data": UNEQUAL},
    "group DRO": {"objective": {"scheme": "group_dro", "dro_step": 10}},
    "UPGrad of torchjd": {"objective": {"scheme": "torchjd:UPGrad"}},
    "MORE": {},
    "MORE with unequal sources": {"data": UNEQUAL},
    "MORE on each rank": {"objective": {"scope": "rank"}},
    "MORE over accumulated micro-batches": {"objective": {"scope": "batch"}, "train": HALVES},
    "MORE with margins": {"objective": {"margin": True}},
}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_the_gradient(
    workers: Workers,
    make_task: Callable[..., Task],
    classifier: PreTrainedModel,
    case: str,
    count: int,
) -> None:
    train = {"max_steps": 1, "workers": count, **CASES[case].get("train", {})}
    task = make_task(**{**CASES[case], "train": train, "optimizer": {"clip": 0}})
    if task.config.objective.margin:
        for (row,) in task.batches:
            row["margin"] = np.linspace(0, 2, len(row["margin"]), dtype=np.float32).tolist()
    trained = workers(count, own_workers.train, task)[0]
    for name, gradient in plain_gradient(classifier, task).items():
        np.testing.assert_allclose(trained.gradient[name], gradient, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stage", range(4))
def test_the_step(
    workers: Workers, make_task: Callable[..., Task], classifier: PreTrainedModel, stage: int
) -> None:
    """Clipped, decayed and at the learning rate that the config asks for."""
    optimizer = {"lr": 1e-3, "clip": 0.1, "weight_decay": 0.1, "betas": (0.8, 0.9)}
    train = {"max_steps": 1, "workers": 2, "zero_stage": stage}
    task = make_task(optimizer=optimizer, train=train)
    trained = workers(2, own_workers.train, task)[0]
    parameters = dict(classifier.named_parameters())
    gradients = plain_gradient(classifier, task)
    assert torch.nn.utils.clip_grad_norm_(parameters.values(), 0.1) > 0.2
    for name, gradient in gradients.items():
        np.testing.assert_allclose(trained.gradient[name], gradient, rtol=0, atol=1e-6)
        # AdamW makes much of little where a gradient is almost zero: it gets the same ones.
        parameters[name].grad = torch.from_numpy(trained.gradient[name])
    adam = torch.optim.AdamW(parameters.values(), lr=1e-3, weight_decay=0.1, betas=(0.8, 0.9))
    adam.step()
    for name, parameter in parameters.items():
        np.testing.assert_allclose(trained.weights[name], parameter.detach(), rtol=0, atol=1e-6)


def unpacked(sums_KC: np.ndarray) -> SourceSums:
    return SourceSums.unpack(torch.from_numpy(sums_KC))


def sums_of_two_ranks() -> np.ndarray:
    """`[R, K, C]`, of pairs whose second source only one rank has, and it seven of them."""
    sums_RKC = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    sums_RKC[:, :, -1] = [[4, 0, 2], [3, 7, 2]]
    sums_RKC[0, 1] = 0
    return sums_RKC


@pytest.mark.parametrize("weighting", [MinNorm(), Fixed(np.array([0.2, 0.3, 0.5]))], ids=type)
def test_all_ranks_have_one_lam(workers: Workers, weighting: Any) -> None:
    sums_RKC = sums_of_two_ranks()
    (first_K, stats), (other_K, nothing) = workers(
        2, own_workers.agree, sums_RKC, weighting, "global"
    )
    np.testing.assert_array_equal(first_K, other_K)
    weight_K, expected = solve(unpacked(sums_RKC.sum(axis=0)), weighting)
    # The engine averages over the ranks what is a sum.
    np.testing.assert_allclose(first_K, 2 * weight_K, rtol=1e-6)
    np.testing.assert_allclose(stats.lam_K, expected.lam_K, rtol=1e-6)
    assert stats.count_K.tolist() == [7, 7, 4]
    assert nothing is None


def test_each_rank_has_a_lam_of_its_own(workers: Workers) -> None:
    sums_RKC = sums_of_two_ranks()
    (first_K, stats), (other_K, nothing) = workers(
        2, own_workers.agree, sums_RKC, MinNorm(), "rank"
    )
    np.testing.assert_array_equal(first_K, solve(unpacked(sums_RKC[0]), MinNorm())[0])
    np.testing.assert_array_equal(other_K, solve(unpacked(sums_RKC[1]), MinNorm())[0])
    assert np.abs(first_K - other_K).max() > 0.01
    assert stats.count_K.tolist() == [4, 0, 2]
    assert nothing is None
