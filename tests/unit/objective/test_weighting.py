from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from more_ray.config import ObjectiveConfig
from more_ray.objective import weighting as weightings
from more_ray.objective.schemes import make_weighting
from more_ray.objective.weighting import GroupDro, MinNorm, Weighting, divisor, gram

NAMES = ("helpful", "harmless", "webgpt")
SIZES = (60, 30, 10)
COUNT = np.array([2.0, 4.0, 1.0])
GRADIENT = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 4.0]])
LOSS = np.array([0.5, 0.7, 0.9])


def solved(
    weighting: Weighting, gradient: np.ndarray = GRADIENT, count_K: np.ndarray = COUNT
) -> np.ndarray:
    """lam from mean gradients."""
    sum_KH = torch.from_numpy(gradient * count_K[:, None])
    unknown_K = np.full(len(count_K), np.nan)
    return weighting.weights(gradient @ gradient.T, unknown_K, LOSS, count_K, sum_KH)


def weights(count_K: np.ndarray = COUNT, **objective: object) -> list[float]:
    weighting = make_weighting(ObjectiveConfig(**objective), NAMES, SIZES)
    return solved(weighting, count_K=count_K).tolist()


def test_schemes() -> None:
    assert weights(scheme="uniform") == pytest.approx([1 / 3] * 3)
    assert weights(scheme="proportional") == pytest.approx([0.6, 0.3, 0.1])
    given = {"helpful": 2, "harmless": 1, "webgpt": 1}
    assert weights(scheme="fixed", weights=given) == pytest.approx([0.5, 0.25, 0.25])
    assert weights(scheme="more") == pytest.approx([0.8, 0.2, 0])


@pytest.mark.parametrize(
    "scheme", ["more", "uniform", "proportional", "group_dro", "torchjd:UPGrad"]
)
def test_a_source_that_is_not_in_the_batch_has_no_weight(scheme: str) -> None:
    lam = weights(np.array([2.0, 0.0, 1.0]), scheme=scheme)
    assert lam[1] == 0
    assert sum(lam) == pytest.approx(1)


def test_l2_makes_the_weights_independent_of_length() -> None:
    longer = GRADIENT * np.array([[1.0], [10.0], [100.0]])
    short, long = (solved(MinNorm(normalize="l2"), gradient) for gradient in (GRADIENT, longer))
    np.testing.assert_allclose(short, long, atol=1e-6)


def test_normalisation_divides_by_what_it_says() -> None:
    norm_K = np.linalg.norm(GRADIENT, axis=1)
    gram_KK = GRADIENT @ GRADIENT.T
    np.testing.assert_allclose(divisor(gram_KK, LOSS, "l2"), norm_K)
    np.testing.assert_allclose(divisor(gram_KK, LOSS, "loss"), (LOSS + 1) / (LOSS + 1).sum())
    np.testing.assert_allclose(divisor(gram_KK, LOSS, "loss+"), norm_K * LOSS)
    assert divisor(np.zeros((2, 2)), LOSS[:2], "l2").tolist() == [1, 1]


@pytest.mark.parametrize("normalize", ["none", "l2", "loss", "loss+"])
def test_inner_products_are_normalised_as_gradients_would_be(normalize: str) -> None:
    scaled = GRADIENT / divisor(GRADIENT @ GRADIENT.T, LOSS, normalize)[:, None]
    np.testing.assert_allclose(solved(MinNorm(normalize)), solved(MinNorm(), scaled), atol=1e-9)


def test_inner_products_are_summed_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    value_KH = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(weightings, "COLUMNS", 7)
    torch.testing.assert_close(gram(value_KH), value_KH.double() @ value_KH.double().T)


@pytest.mark.parametrize("normalize", ["none", "l2"])
def test_momentum_averages_and_its_state_resumes(normalize: str) -> None:
    averaged = MinNorm(normalize, momentum=0.9)
    first = solved(averaged)
    np.testing.assert_allclose(first, solved(MinNorm(normalize)))

    resumed = MinNorm(normalize, momentum=0.9)
    resumed.load_state_dict(averaged.state_dict())
    after = solved(averaged, GRADIENT[::-1])
    np.testing.assert_array_equal(solved(resumed, GRADIENT[::-1]), after)
    scaled, reverse = (
        one / divisor(one @ one.T, LOSS, normalize)[:, None] for one in (GRADIENT, GRADIENT[::-1])
    )
    np.testing.assert_allclose(after, solved(MinNorm(), 0.9 * scaled + 0.1 * reverse), atol=1e-6)


def dro(weighting: GroupDro, loss_K: list[float], count_K: list[float]) -> np.ndarray:
    gram_KK, sum_KH = np.zeros((3, 3)), torch.zeros(3, 1)
    return weighting.weights(gram_KK, np.zeros(3), np.array(loss_K), np.array(count_K), sum_KH)


def test_group_dro_multiplies_by_exponentials_of_the_losses() -> None:
    weighting = GroupDro(step=np.log(2))
    # Shares of 1 : 2 : 4, then times 2 : 1 : 1.
    np.testing.assert_allclose(dro(weighting, [0, 1, 2], [1, 1, 1]), np.array([1, 2, 4]) / 7)
    np.testing.assert_allclose(dro(weighting, [1, 0, 0], [1, 1, 1]), np.array([2, 2, 4]) / 8)


def test_group_dro_leaves_the_share_of_an_absent_source() -> None:
    weighting = GroupDro(step=np.log(2))
    np.testing.assert_allclose(dro(weighting, [1, 0, 9], [1, 1, 0]), [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(weighting.q_K, np.array([4, 2, 3]) / 9)


def test_group_dro_bears_any_loss_and_resumes() -> None:
    weighting, resumed = GroupDro(0.1), GroupDro(0.1)
    np.testing.assert_allclose(dro(weighting, [1e4, 0, 1e4], [1, 1, 1]), [0.5, 0, 0.5])
    resumed.load_state_dict(weighting.state_dict())
    losses = [0.3, 0.2, 0.9]
    np.testing.assert_array_equal(*(dro(one, losses, [1, 1, 1]) for one in (weighting, resumed)))


def test_weights_must_name_the_sources_of_the_run() -> None:
    config = ObjectiveConfig(scheme="fixed", weights={"helpful": 1, "other": 1})
    with pytest.raises(ValueError, match=r"names \['helpful', 'other'\]; allowed are exactly"):
        make_weighting(config, NAMES, SIZES)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"scheme": "fixed"}, "given exactly when objective.scheme=fixed"),
        ({"weights": {"a": 1}}, "given exactly when objective.scheme=fixed"),
        ({"scheme": "fixed", "weights": {"a": -1}}, "weights >= 0 with a sum above 0"),
        (
            {"scheme": "uniform", "debias": True},
            "objective.debias: needs objective.scheme=more or torchjd:NAME",
        ),
        (
            {"debias": True, "momentum": 0.5},
            "objective.debias: cannot be used with objective.momentum",
        ),
    ],
)
def test_what_does_not_fit_the_scheme(objective: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ObjectiveConfig(**objective)
