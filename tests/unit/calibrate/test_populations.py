"""What every population thinks of the same answers, and how sure that is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from linear_world import drawn_heads

from more_ray.calibrate.populations import UNKNOWN, Populations
from more_ray.calibrate.posterior import variances, widened
from more_ray.calibrate.unknown import squared_lengths
from more_ray.errors import UserError
from more_ray.metrics.calibration import sigmoid
from more_ray.model.heads_file import Calibration, Posterior

NAMES, ANSWERS, HIDDEN = ("ours", "theirs"), 5, 7


@pytest.fixture
def fitted() -> Calibration:
    rng = np.random.default_rng(0)
    factor = np.tril(rng.standard_normal((1 + len(NAMES), HIDDEN, HIDDEN)))
    return Calibration(
        NAMES,
        "a trunk",
        drawn_heads(rng, len(NAMES), HIDDEN, 1.0, 0.5),
        drift_variance=0.2,
        shared_temperature=1.5,
        temperature_K=np.array([0.8, 2.0]),
        posterior=Posterior(factor[0], factor[1:]),
        unknown_factor=3.0,
    )


@pytest.fixture
def z_AH() -> np.ndarray:
    return 10 + np.random.default_rng(1).standard_normal((ANSWERS, HIDDEN))


def test_probabilities_are_those_that_calibration_measures(
    fitted: Calibration, z_AH: np.ndarray
) -> None:
    dz_NH = z_AH[[0, 3]] - z_AH[[1, 2]]
    posterior = fitted.posterior
    assert posterior
    stranger = variances(dz_NH, posterior.shared_HH) + 3.0 * 0.2 * squared_lengths(dz_NH)
    expected = {
        None: widened(dz_NH @ fitted.folded_H, variances(dz_NH, posterior.shared_HH) / 1.5**2),
        "theirs": widened(
            dz_NH @ fitted.folded_KH[1], variances(dz_NH, posterior.own_KHH[1]) / 2.0**2
        ),
        UNKNOWN: widened(dz_NH @ fitted.heads.shared_H, stranger),
    }
    for name, wanted_N in expected.items():
        preference_AA = Populations(fitted).rewards(name, z_AH).preferences(1.0)
        assert preference_AA[[0, 3], [1, 2]] == pytest.approx(sigmoid(wanted_N))
        assert preference_AA + preference_AA.T == pytest.approx(np.ones((ANSWERS, ANSWERS)))


def test_deviations_are_those_of_rewards_less_their_mean(
    fitted: Calibration, z_AH: np.ndarray
) -> None:
    rng = np.random.default_rng(2)
    assert fitted.posterior
    drawn_SH = rng.standard_normal((200_000, HIDDEN)) @ fitted.posterior.own_KHH[0].T
    reward_SA = drawn_SH @ z_AH.T / 0.8
    centred_SA = reward_SA - reward_SA.mean(axis=1, keepdims=True)
    found = Populations(fitted).rewards("ours", z_AH).deviation_A
    assert found == pytest.approx(centred_SA.std(axis=0), rel=0.02)
    moved = Populations(fitted).rewards("ours", z_AH + 5).deviation_A
    assert moved == pytest.approx(found)


def test_one_pass_gives_what_each_population_gives(fitted: Calibration, z_AH: np.ndarray) -> None:
    populations = Populations(fitted)
    together = populations.by_population(z_AH)
    assert together.names == NAMES
    for row, name in enumerate((None, *NAMES)):
        alone = populations.rewards(name, z_AH)
        assert together.reward_PA[row] == pytest.approx(alone.reward_A)
        assert together.deviation_PA is not None
        assert together.deviation_PA[row] == pytest.approx(alone.deviation_A)
    of_one = populations.by_population(z_AH, whose="theirs")
    assert of_one.deviation_PA is not None
    for value_PA in (of_one.reward_PA, of_one.deviation_PA):
        assert value_PA[0] == pytest.approx(value_PA[2])


def test_a_source_may_stand_in_the_place_of_everybody(
    fitted: Calibration, z_AH: np.ndarray
) -> None:
    found = Populations(fitted).by_population(z_AH, "theirs")
    assert found.deviation_PA is not None
    for value_PA in (found.reward_PA, found.deviation_PA):
        assert value_PA[0] == pytest.approx(value_PA[2])


def test_heads_that_training_left_have_rewards_but_no_doubt(
    fitted: Calibration, z_AH: np.ndarray
) -> None:
    plain = dataclasses.replace(fitted, posterior=None, unknown_factor=None)
    assert Populations(plain).by_population(z_AH).deviation_PA is None
    found = Populations(plain).rewards(UNKNOWN, z_AH)
    assert found.deviation_A is None
    assert found.preferences(1.0)[0, 1] == pytest.approx(
        sigmoid((z_AH[0] - z_AH[1]) @ fitted.heads.shared_H)
    )


def test_a_source_may_be_called_unknown_and_others_are_refused(
    fitted: Calibration, z_AH: np.ndarray
) -> None:
    named = Populations(dataclasses.replace(fitted, names=("ours", UNKNOWN)))
    as_source = Populations(fitted).rewards("theirs", z_AH)
    assert named.rewards(UNKNOWN, z_AH).reward_A == pytest.approx(as_source.reward_A)
    with pytest.raises(UserError, match="nobody given; allowed: ours, unknown"):
        named.rewards("nobody", z_AH)
