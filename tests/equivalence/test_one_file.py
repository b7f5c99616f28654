"""The method in one file of plain PyTorch takes the steps that the system takes."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from more_ray.objective.ranking import head_gradient_sums, ranking_loss, ranking_slope
from more_ray.objective.weighting import MinNorm
from more_ray.train.exchange import solve
from more_ray.train.sums import SourceSums

FILE = Path(__file__).parents[2] / "docs" / "examples" / "more_in_one_file.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("more_in_one_file", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(5))
def test_lam_and_losses_are_the_systems(example: ModuleType, seed: int) -> None:
    torch.manual_seed(seed)
    model, worth = example.RewardModel(), example.make_populations()
    chosen, rejected, source_N = example.draw_batch(worth)
    loss, lam_K, loss_K = example.more_loss(model, chosen, rejected, source_N)

    with torch.no_grad():
        (chosen_N, z_chosen_NH), (rejected_N, z_rejected_NH) = model(chosen), model(rejected)
        delta_N = chosen_N - rejected_N
        slope_N = ranking_slope(delta_N)
        gradients = head_gradient_sums(slope_N, z_chosen_NH, z_rejected_NH, source_N, example.K)
        loss_N = ranking_loss(delta_N)
    other = {"correct_K": torch.zeros_like(loss_N), "tokens_K": torch.zeros_like(loss_N)}
    sums = SourceSums.of(*gradients, source_N, loss_K=loss_N, **other)
    weight_K, stats = solve(sums, MinNorm(solver="frank_wolfe"))
    np.testing.assert_allclose(lam_K, stats.lam_K, atol=1e-5)
    np.testing.assert_allclose(loss_K, stats.loss_K, atol=1e-6)
    assert loss.item() == pytest.approx((weight_K[source_N] * loss_N).sum().item(), abs=1e-6)
    assert stats.lam_K.max() < 1


def test_it_learns(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    example.main()
    printed = capsys.readouterr().out
    accuracies = [float(one) for one in re.findall(r"accuracy (0\.\d+)", printed)]
    assert len(accuracies) == example.K
    assert min(accuracies) > 0.65


def test_it_needs_no_code_of_ours() -> None:
    imported = re.findall(r"^(?:import|from) (\w+)", FILE.read_text(), flags=re.MULTILINE)
    assert set(imported) == {"torch"}
