"""The weightings of torchjd as schemes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchjd import aggregation

from more_ray.config import ObjectiveConfig, RunConfig
from more_ray.config.base import dump, read
from more_ray.objective.from_torchjd import TorchJD, usable
from more_ray.objective.schemes import make_weighting
from more_ray.objective.weighting import Weighting

GRADIENT = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0], [0.0, 3.0, 0.0]])
GRAM = GRADIENT @ GRADIENT.T


def solved(
    weighting: Weighting, gram_KK: np.ndarray = GRAM, count_K: tuple[int, ...] = (2, 2, 2)
) -> np.ndarray:
    loss_K, unknown_K = np.ones(3), np.full(3, np.nan)
    return weighting.weights(gram_KK, unknown_K, loss_K, np.array(count_K), torch.zeros(3, 1))


def test_lam_is_what_torchjd_gives_divided_by_its_sum() -> None:
    weighting = make_weighting(ObjectiveConfig(scheme="torchjd:UPGrad"), ("a", "b", "c"), (1, 1, 1))
    weight_K = aggregation.UPGradWeighting()(torch.from_numpy(GRAM)).numpy()
    assert weight_K.sum() != pytest.approx(1)
    np.testing.assert_allclose(solved(weighting), weight_K / weight_K.sum(), rtol=1e-12)


def test_an_absent_source_is_not_shown() -> None:
    weight = aggregation.MGDAWeighting()(torch.from_numpy(GRAM[:2, :2])).tolist()
    np.testing.assert_allclose(solved(TorchJD("MGDA"), count_K=(2, 2, 0)), [*weight, 0])


def test_a_negative_weight_is_kept() -> None:
    gradient = np.array([[1.0, 0.0, 0.0], [3.0, 0.5, 0.0], [0.0, 1.0, 1.0]])
    lam_K = solved(TorchJD("IMTLG"), gradient @ gradient.T)
    assert lam_K.min() < 0
    assert lam_K.sum() == pytest.approx(1)
    # Its definition: the sum has the same projection on every gradient.
    cosine_K = gradient @ (lam_K @ gradient) / np.linalg.norm(gradient, axis=1)
    np.testing.assert_allclose(cosine_K, cosine_K[0])


@pytest.mark.parametrize("name", usable())
def test_every_usable_weighting_gives_weights_of_sum_one(name: str) -> None:
    for gram_KK in (GRAM, np.zeros((3, 3))):
        assert solved(TorchJD(name), gram_KK).sum() == pytest.approx(1)


@pytest.mark.parametrize("name", usable())
def test_a_source_that_is_nothing_but_noise_gets_no_weight(name: str) -> None:
    weighting = TorchJD(name, debias=True)
    noise_K = np.array([0.0, 0.0, 2 * GRAM[2, 2]])
    lam_K = weighting.weights(GRAM, noise_K, np.ones(3), np.full(3, 8.0), torch.zeros(3, 1))
    assert lam_K[2] == 0
    assert lam_K.sum() == pytest.approx(1)


def test_weights_that_cancel_have_no_direction() -> None:
    """Opposite gradients of one length: IMTLG's weights are of any size, and add up to nothing."""
    gradient = np.array([[1.0, 0.0], [-1.0, 1e-9], [0.0, 1e-9]])
    assert np.abs(solved(TorchJD("IMTLG"), gradient @ gradient.T)).max() <= 1e6


def test_what_keeps_a_state_or_needs_arguments_is_left_out() -> None:
    assert {"UPGrad", "MGDA", "IMTLG"} <= usable().keys()
    assert not {"GradVac", "Krum", "Constant", ""} & usable().keys()


@pytest.mark.parametrize(
    "tree", [{"objective": {"scheme": "torchjd:No"}}, {"compare": ["torchjd:No"]}], ids=list
)
def test_an_unknown_name_is_refused_with_those_that_exist(tree: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"got 'torchjd:No', allowed: .*torchjd:UPGrad"):
        RunConfig.model_validate(tree)


def test_settings_are_written_and_read() -> None:
    config = RunConfig(objective={"scheme": "torchjd:UPGrad"}, compare=["torchjd:MGDA"])
    assert read(RunConfig, dump(config)) == config


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    message = r"torchjd:UPGrad: pip install 'torchjd\[quadprog-projector\]' first"
    with pytest.raises(ValidationError, match=message):
        ObjectiveConfig(scheme="torchjd:UPGrad")
