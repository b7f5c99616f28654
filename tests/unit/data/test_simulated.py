from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pytest

from more_ray.data.records import Pair
from more_ray.data.simulated import ATTRIBUTES, TOPICS, Simulator


def words(pair: Pair) -> set[str]:
    texts = (pair.prompt[0]["content"], pair.chosen, pair.rejected)
    return set(re.findall(r"\w+", " ".join(texts)))


def attributes(text: str) -> list[bool]:
    """Which attributes an answer has, read off its sentences."""
    return [
        any(phrasing.format(topic=topic) in text for phrasing in one.phrasings for topic in TOPICS)
        for one in ATTRIBUTES
    ]


def difference(pair: Pair) -> np.ndarray:
    """`[A]`: the attributes of the chosen answer less those of the rejected one."""
    return np.subtract(attributes(pair.chosen), attributes(pair.rejected), dtype=float)


def agreement(simulator: Simulator) -> float:
    """How often two sources rank two random answers the same way."""
    rng = np.random.default_rng(0)
    answers_2NA = rng.integers(2, size=(2, 2000, len(ATTRIBUTES)))
    difference_NA = answers_2NA[0] - answers_2NA[1]
    prefers_first = [difference_NA @ weights_A > 0 for weights_A in simulator.weights.values()]
    return float(np.mean([np.mean(one == other) for one, other in combinations(prefers_first, 2)]))


def test_a_pair_depends_on_nothing_but_its_arguments() -> None:
    simulator = Simulator(seed=3)
    in_order = list(simulator.pairs("population_2", "train", 0, 50))
    indices = random.Random(0).sample(range(50), 50)
    shuffled = {index: Simulator(seed=3).pair("population_2", "train", index) for index in indices}
    assert in_order == [shuffled[index] for index in range(50)]


@pytest.mark.parametrize(
    ("simulator", "digest"),
    [
        (Simulator(), "c22a3064b0d52d63b821666815f9d854a051a583c59978f0ddfc0d063e2a2304"),
        (
            Simulator(sources=3, drift=2.0, noise=0.7, seed=5),
            "ddbe50f0c9590065962d6eff709a220a2690ad65f6bf70b74951e13fa91675ab",
        ),
    ],
)
def test_pairs_are_those_of_the_first_version(simulator: Simulator, digest: str) -> None:
    """Recorded when all populations had the same drift and noise."""
    found = hashlib.sha256()
    for name in simulator.names():
        for split in ("train", "test"):
            for pair in simulator.pairs(name, split, 0, 100):
                fields = asdict(pair)
                del (
                    fields["share"],
                    fields["weight"],
                    fields["record"],
                )  # which that version did not have
                # Its last digits are the processor's.
                fields["probability"] = round(fields["probability"], 9)
                found.update(json.dumps(fields, sort_keys=True).encode())
    assert found.hexdigest() == digest


def test_seed_source_split_and_index_all_matter() -> None:
    pairs = [
        Simulator(seed=seed).pair(source, split, index)
        for seed in (0, 1)
        for source in ("population_1", "population_2")
        for split in ("train", "test")
        for index in (0, 1)
    ]
    assert len({(pair.prompt[0]["content"], pair.chosen, pair.rejected) for pair in pairs}) == 16


def test_a_source_is_the_same_however_many_others_there_are() -> None:
    few, many = Simulator(sources=2), Simulator(sources=9)
    assert few.pair("population_2", "test", 7) == many.pair("population_2", "test", 7)


def test_a_source_of_a_list_is_the_one_with_its_values_for_all() -> None:
    drifts, noises = [0.8, 0.0, 2.0], [1, 3, 0.5]
    mixed = Simulator(sources=3, drift=drifts, noise=noises)
    for name, drift, noise in zip(mixed.names(), drifts, noises, strict=True):
        alike = Simulator(sources=3, drift=drift, noise=noise)
        assert list(mixed.pairs(name, "test", 0, 50)) == list(alike.pairs(name, "test", 0, 50))


@pytest.mark.parametrize("given", [{"drift": [0.8, 0.4]}, {"noise": [1.0, 3.0]}])
def test_a_list_has_a_value_for_each_source(given: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"^got 2 values, allowed: one for all, or 3$"):
        Simulator(sources=3, **given).pair("population_1", "train", 0)


def test_splits_share_no_prompt() -> None:
    simulator = Simulator()
    train, test = (
        {pair.prompt[0]["content"] for pair in simulator.pairs("population_1", split, 0, 1000)}
        for split in ("train", "test")
    )
    assert not train & test
    assert len(train) > 250
    assert len(test) > 80


def test_labels_follow_the_probability() -> None:
    """`probability` is of the label drawn, so fold each pair onto the likelier answer."""
    pairs = Simulator(noise=0.7).pairs("population_3", "train", 0, 5000)
    probability_N = np.array([pair.probability for pair in pairs])
    confidence_N = np.maximum(probability_N, 1 - probability_N)
    likelier_chosen_N = probability_N > 0.5
    for low in (0.5, 0.6, 0.7, 0.8, 0.9):
        inside = (confidence_N >= low) & (confidence_N < low + 0.1)
        expected = confidence_N[inside].mean()
        error = np.sqrt(expected * (1 - expected) / inside.sum())
        assert likelier_chosen_N[inside].mean() == pytest.approx(expected, abs=4 * error)


def test_the_best_possible_accuracy_is_the_documented_one() -> None:
    simulator = Simulator(drift=0.0)
    probability_N = np.array(
        [pair.probability for pair in simulator.pairs("population_1", "test", 0, 3000)]
    )
    assert np.maximum(probability_N, 1 - probability_N).mean() == pytest.approx(0.75, abs=0.01)


def test_without_drift_all_sources_have_the_shared_reward() -> None:
    simulator = Simulator(drift=0.0)
    shared_A = [attribute.shared_weight for attribute in ATTRIBUTES]
    assert all(np.array_equal(weights_A, shared_A) for weights_A in simulator.weights.values())


def test_each_population_has_its_own_noise_and_reward() -> None:
    """The formula; a population without drift among others has the shared reward exactly."""
    simulator = Simulator(sources=3, drift=[0.8, 0.0, 1.6], noise=[0.5, 1.0, 3.0])
    shared_A = np.array([attribute.shared_weight for attribute in ATTRIBUTES])
    own_KA = np.array(list(simulator.weights.values()))
    np.testing.assert_array_equal((own_KA == shared_A).all(axis=1), [False, True, False])
    noises = (0.5, 1.0, 3.0)
    for name, own_A, noise in zip(simulator.names(), own_KA, noises, strict=True):
        for pair in simulator.pairs(name, "train", 0, 100):
            expected = 1 / (1 + np.exp(-difference(pair) @ own_A / noise))
            assert pair.probability == pytest.approx(expected, abs=1e-12)


def test_drift_is_relative_to_the_shared_reward() -> None:
    shared_A = np.array([attribute.shared_weight for attribute in ATTRIBUTES])
    for weights_A in Simulator(drift=0.8).weights.values():
        ratio = np.linalg.norm(weights_A - shared_A) / np.linalg.norm(shared_A)
        assert ratio == pytest.approx(0.8)


def test_more_drift_lowers_the_agreement_between_sources() -> None:
    shares = [agreement(Simulator(drift=drift)) for drift in (0.0, 0.4, 0.8, 1.6)]
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    assert shares[3] < 0.65


def test_more_noise_makes_the_labels_less_certain() -> None:
    clear, noisy = (Simulator(noise=noise).pair("population_1", "train", 0) for noise in (0.5, 2.0))
    assert clear.probability is not None
    assert noisy.probability is not None
    assert abs(clear.probability - 0.5) > abs(noisy.probability - 0.5)


def test_the_answers_differ_and_are_short() -> None:
    for pair in Simulator().pairs("population_1", "train", 0, 2000):
        assert pair.chosen != pair.rejected
        assert all(15 <= len(text.split()) <= 45 for text in (pair.chosen, pair.rejected))


def test_the_corpus_covers_the_words_of_the_pairs() -> None:
    simulator = Simulator()
    known = set(re.findall(r"\w+", " ".join(simulator.corpus())))
    for split in ("train", "test"):
        for pair in simulator.pairs("population_1", split, 0, 1000):
            assert words(pair) <= known
