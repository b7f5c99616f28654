"""Whose opinion is asked, how sure it is, and over which temperature preferences are."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from several_heads import NAMES, SHARED_TEMPERATURES, write_calibrated_run, write_trained_run
from support import write_reward_model

import more_ray
from more_ray.calibrate.opinions import Opinions
from more_ray.calibrate.populations import Populations, populations_of
from more_ray.config import ModelConfig
from more_ray.errors import ModelError, UserError
from more_ray.evaluate.files import read_scores, write_scores
from more_ray.evaluate.temperature import model_temperature
from more_ray.metrics.calibration import sigmoid
from more_ray.model.heads_file import Calibration
from more_ray.model.scorer import Features, Scorer

PROMPT = "How are plants watered?"
ANSWERS = ["With water.", "No.", "At the roots, in the morning."]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def fitted(home: Path) -> Calibration:
    return write_calibrated_run(home / "calibrated")


@pytest.fixture(scope="module")
def calibrated(home: Path, fitted: Calibration) -> str:
    return str(home / "calibrated" / "model")


@pytest.fixture(scope="module")
def trained(home: Path) -> str:
    write_trained_run(home / "trained")
    return str(home / "trained" / "model")


@pytest.fixture(scope="module")
def single(home: Path) -> str:
    write_reward_model(home / "single")
    return str(home / "single")


@pytest.fixture(scope="module")
def features(calibrated: str) -> Features:
    return Scorer(ModelConfig(path=calibrated)).features_of(PROMPT, ANSWERS)


def opinions(path: str, temperature: float | None = None, source: str | None = None) -> Opinions:
    config = ModelConfig(path=path, source=source)
    classifier = Scorer(config).classifier
    return Opinions(config, populations_of(config, classifier), temperature)


def logits(preferences: list[list[float]] | None) -> np.ndarray:
    preference_AA = np.array(preferences)
    return np.log(preference_AA / (1 - preference_AA))


@pytest.mark.parametrize("source", [None, *NAMES, "unknown"])
def test_a_calibrated_head_is_not_divided_a_second_time(
    calibrated: str, fitted: Calibration, features: Features, source: str | None
) -> None:
    z_AH = features[1].double().numpy()
    wanted = Populations(fitted).rewards(source, z_AH)
    found = opinions(calibrated).of(features, source, preferences=True, uncertainty=True)
    assert found.scores == pytest.approx(wanted.reward_A, rel=1e-4)
    assert found.deviations == pytest.approx(wanted.deviation_A)
    assert np.array(found.preferences) == pytest.approx(wanted.preferences(1.0), abs=1e-4)
    sure = opinions(calibrated).of(features, source, preferences=True)
    assert sure.deviations is None
    assert sure.scores == found.scores
    delta_AA = np.subtract.outer(sure.scores, sure.scores)
    same = found.preferences if source == "unknown" else sigmoid(delta_AA)
    assert np.array(sure.preferences) == pytest.approx(np.array(same))
    if source != "unknown":
        assert (np.abs(logits(found.preferences)) <= np.abs(logits(sure.preferences))).all()


def test_a_temperature_that_is_given_divides_rewards_and_doubt(
    calibrated: str, features: Features
) -> None:
    once, thrice = (opinions(calibrated, temperature) for temperature in (1.0, 3.0))
    assert thrice.temperature("helpful") == (3.0, "given")
    for source in (None, "helpful"):
        sharp = once.of(features, source, preferences=True)
        soft = thrice.of(features, source, preferences=True)
        assert soft.scores == sharp.scores
        assert logits(soft.preferences) == pytest.approx(logits(sharp.preferences) / 3)
        doubtful = thrice.of(features, source, preferences=True, uncertainty=True)
        wanted = once.of(features, source, preferences=True, uncertainty=True)
        assert doubtful.deviations == wanted.deviations
        assert (np.abs(logits(doubtful.preferences)) <= np.abs(logits(soft.preferences))).all()


def test_trained_heads_are_over_what_their_run_s_pairs_say(trained: str) -> None:
    asked = opinions(trained)
    shared = float(np.sqrt(np.prod(SHARED_TEMPERATURES)))
    assert asked.temperature()[0] == pytest.approx(shared)
    assert asked.temperature("unknown")[0] == pytest.approx(shared)
    for name in NAMES:
        own, _ = model_temperature(ModelConfig(path=trained, source=name))
        assert asked.temperature(name) == (own, "fitted on the run's test pairs")
        assert own != pytest.approx(shared)
        features = Scorer(ModelConfig(path=trained)).features_of(PROMPT, ANSWERS)
        found = asked.of(features, name, preferences=True)
        delta_AA = np.subtract.outer(found.scores, found.scores)
        assert np.array(found.preferences) == pytest.approx(sigmoid(delta_AA / own))


def test_a_source_without_test_pairs_is_over_what_the_shared_head_is(home: Path) -> None:
    folder = home / "untested"
    write_trained_run(folder)
    tested = read_scores(str(folder))
    write_scores({"helpful": tested["helpful"]}, str(folder))
    asked = opinions(str(folder / "model"))
    assert asked.temperature("harmless") == asked.temperature("unknown") == asked.temperature()
    assert asked.temperature("helpful") != asked.temperature()
    assert opinions(str(folder / "model"), source="harmless").temperature() == asked.temperature()


def test_a_folder_that_is_called_models_need_not_be_a_run_s(home: Path) -> None:
    path = home / "models" / "helpful"
    write_reward_model(path)
    assert opinions(str(path)).whose is None


def test_a_part_of_the_trunk_has_no_heads_of_sources(calibrated: str) -> None:
    assert more_ray.load(calibrated, device="cpu", layers=2).sources == NAMES  # all there are
    part = more_ray.load(calibrated, device="cpu", layers=1)
    assert part.sources == ()
    assert len(part.score(PROMPT, ANSWERS)) == len(ANSWERS)
    with pytest.raises(ModelError, match="layers: 1 given; the head of"):
        more_ray.load(calibrated, device="cpu", layers=1, source="helpful")


def test_what_cannot_be_asked_is_one_line(calibrated: str, trained: str, single: str) -> None:
    for path, source, uncertainty, message in (
        (calibrated, "nobody", False, "source: nobody given; allowed: helpful, harmless, unknown"),
        (single, "helpful", False, f"source: helpful given; {single} has a single head"),
        (single, "unknown", False, f"source: unknown given; {single} has a single head"),
        (single, None, True, f"uncertainty: true given; {single} has a single head"),
        (trained, None, True, f"uncertainty: true given; the heads of {trained} come from train"),
        (trained, "helpful", True, f"uncertainty: true given; the heads of {trained} come from"),
    ):
        with pytest.raises(UserError) as error:
            opinions(path).check(source, uncertainty)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("exported", [False, True])
def test_a_model_of_one_source_is_as_sure_as_that_source(
    home: Path, calibrated: str, features: Features, exported: bool
) -> None:
    """By `model.source`, or as a plain model that was exported."""
    path = str(home / "calibrated" / "models" / "helpful") if exported else calibrated
    asked = opinions(path, source=None if exported else "helpful")
    assert asked.whose == "helpful"
    own = Scorer(ModelConfig(path=path, source=None if exported else "helpful"))
    wanted = opinions(calibrated).of(features, "helpful", preferences=True, uncertainty=True)
    found = asked.of(own.features_of(PROMPT, ANSWERS), preferences=True, uncertainty=True)
    assert found.scores == pytest.approx(wanted.scores, rel=1e-4)
    assert found.deviations == pytest.approx(wanted.deviations)
    assert np.array(found.preferences) == pytest.approx(np.array(wanted.preferences), abs=1e-4)


def test_a_folder_called_models_need_not_be_of_a_run(home: Path) -> None:
    write_reward_model(home / "models" / "mine")
    assert opinions(str(home / "models" / "mine")).whose is None


def test_a_loaded_model_is_asked_for_a_source(calibrated: str, single: str) -> None:
    model = more_ray.load(calibrated, device="cpu")
    assert model.sources == NAMES
    plain = Scorer(ModelConfig(path=calibrated)).score(PROMPT, ANSWERS)
    assert model.score(PROMPT, ANSWERS) == plain
    by_source = {name: model.score(PROMPT, ANSWERS, source=name) for name in NAMES}
    assert by_source["helpful"] != pytest.approx(plain, rel=1e-2)
    for name, doubt in product((None, *NAMES), (False, True)):
        pair = ANSWERS[:2]
        one = model.preference(PROMPT, *pair, source=name, uncertainty=doubt)
        other = model.preference(PROMPT, *pair[::-1], source=name, uncertainty=doubt)
        assert one + other == pytest.approx(1)
        scores = model.score(PROMPT, pair, source=name)
        assert (one > 0.5) == (scores[0] > scores[1])
        sure = sigmoid(scores[0] - scores[1])
        assert abs(one - 0.5) < abs(sure - 0.5) if doubt else one == pytest.approx(sure)
    scores = by_source["harmless"]
    ranked = [answer for _, answer in sorted(zip(scores, ANSWERS, strict=True))[::-1]]
    assert model.rank(PROMPT, ANSWERS, source="harmless") == ranked
    opinion = model.opinion(PROMPT, ANSWERS, source="harmless")
    assert opinion.scores == pytest.approx(scores)
    assert opinion.deviations
    assert all(deviation > 0 for deviation in opinion.deviations)

    alone = more_ray.load(single, device="cpu")
    assert alone.sources == ()
    first, second = alone.score(PROMPT, ANSWERS[:2])
    assert alone.preference(PROMPT, *ANSWERS[:2]) == pytest.approx(sigmoid(first - second))
    with pytest.raises(UserError, match="has a single head"):
        alone.score(PROMPT, ANSWERS, source="helpful")
