from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from more_ray.config import ObjectiveConfig
from more_ray.objective.weighting import MinNorm, make_weighting, normalized

NAMES = ("helpful", "harmless", "webgpt")
SIZES = (60, 30, 10)
PRESENT = np.array([True, True, True])
GRADIENT = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 4.0]])
LOSS = np.array([0.5, 0.7, 0.9])


def weights(present: np.ndarray = PRESENT, **objective: object) -> list[float]:
    weighting = make_weighting(ObjectiveConfig(**objective), NAMES, SIZES)
    return weighting.weights(GRADIENT, LOSS, present).tolist()


def test_schemes() -> None:
    assert weights(scheme="uniform") == pytest.approx([1 / 3] * 3)
    assert weights(scheme="proportional") == pytest.approx([0.6, 0.3, 0.1])
    given = {"helpful": 2, "harmless": 1, "webgpt": 1}
    assert weights(scheme="fixed", weights=given) == pytest.approx([0.5, 0.25, 0.25])
    assert weights(scheme="more") == pytest.approx([0.8, 0.2, 0])


@pytest.mark.parametrize("scheme", ["more", "uniform", "proportional"])
def test_a_source_that_is_not_in_the_batch_has_no_weight(scheme: str) -> None:
    lam = weights(np.array([True, False, True]), scheme=scheme)
    assert lam[1] == 0
    assert sum(lam) == pytest.approx(1)


def test_l2_makes_the_weights_independent_of_length() -> None:
    longer = GRADIENT * np.array([[1.0], [10.0], [100.0]])
    short, long = (
        MinNorm(normalize="l2").weights(gradient, LOSS, PRESENT) for gradient in (GRADIENT, longer)
    )
    np.testing.assert_allclose(short, long, atol=1e-6)


def test_normalisation_divides_by_what_it_says() -> None:
    norm_K1 = np.linalg.norm(GRADIENT, axis=1, keepdims=True)
    np.testing.assert_allclose(normalized(GRADIENT, LOSS, "l2"), GRADIENT / norm_K1)
    np.testing.assert_allclose(
        normalized(GRADIENT, LOSS, "loss"), GRADIENT / ((LOSS + 1) / (LOSS + 1).sum())[:, None]
    )
    np.testing.assert_allclose(
        normalized(GRADIENT, LOSS, "loss+"), GRADIENT / (norm_K1 * LOSS[:, None])
    )
    assert np.isfinite(normalized(np.zeros((2, 3)), LOSS[:2], "l2")).all()


def test_momentum_averages_and_its_state_resumes() -> None:
    averaged = MinNorm(momentum=0.9)
    first = averaged.weights(GRADIENT, LOSS, PRESENT)
    np.testing.assert_allclose(first, MinNorm().weights(GRADIENT, LOSS, PRESENT))

    resumed = MinNorm(momentum=0.9)
    resumed.load_state_dict(averaged.state_dict())
    after = averaged.weights(GRADIENT[::-1], LOSS, PRESENT)
    np.testing.assert_array_equal(resumed.weights(GRADIENT[::-1], LOSS, PRESENT), after)
    expected = 0.9 * GRADIENT + 0.1 * GRADIENT[::-1]
    np.testing.assert_allclose(after, MinNorm().weights(expected, LOSS, PRESENT), atol=1e-6)


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
    ],
)
def test_bad_fixed_weights(objective: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ObjectiveConfig(**objective)
