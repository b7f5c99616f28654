"""Whom the best of S answers pleases, and what caution is worth, where the truth is known.

    python jobs/benchmarks/choices.py

The policy draws answers of the simulator at random. A model would see of an answer which attributes
it has (8 features) or also which two of them together (36), of which the truth knows nothing.
Heads are fitted by calibration's own code to pairs that each population labels; answers are chosen
by the rules of `select.by` and `select.caution`. What is shown is the true reward: gains over the
mean of a prompt's answers, in nats, with Student's 95% intervals over the seeds, each of which has
other populations, pairs and answers. For caution the pairs are few; `rare`: their answers show the
last four attributes a tenth as often as the policy's do.

Writes `results/choices-rules.json` and `results/choices-caution.json`.

Legend: A answers to a prompt, N numbers of samples, P populations (everybody, then K sources), H
features, D seeds, Q quantities.
"""

from __future__ import annotations

import sys
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from more_ray.config.base import Section

if TYPE_CHECKING:
    from more_ray.calibrate.populations import ByPopulation
    from more_ray.data.simulated import Simulator

Floats = NDArray[np.float64]
RULES = ("shared", "worst", "mean", "nash")


class ChoicesBenchmark(Section):
    sources: int = Field(5, ge=2)
    """Populations."""
    drifts: list[float] = Field([0.8, 1.6])
    """Sizes of their drifts, relative to the shared reward, where rules are compared."""
    pairs: list[int] = Field([50, 500])
    """Training pairs of each population, where rules are compared."""
    samples: int = Field(16, ge=2)
    """Answers to a prompt, where rules are compared."""
    few_pairs: list[int] = Field([10, 40])
    """Training pairs of each population, for caution."""
    most_samples: int = Field(64, ge=2)
    """Answers to a prompt, for caution."""
    cautions: list[float] = Field([0.0, 0.5, 1.0, 2.0])
    """The first is what the others are compared with."""
    prompts: int = Field(100, ge=2)
    """Prompts of each seed."""
    seeds: int = Field(10, ge=2)


def main() -> None:
    from more_ray.cli import load_config

    config = load_config(ChoicesBenchmark, sys.argv[1:], __doc__ or "")
    from record import record

    def worlds(*of_all: Any) -> list[World]:
        return [World(config.sources, seed, *of_all) for seed in range(config.seeds)]

    by_rule = [
        {"drift": drift, "pairs": pairs} | row
        for drift, pairs in product(config.drifts, config.pairs)
        for row in rules_compared(config, worlds(drift, pairs))
    ]
    by_caution = [
        {"features": 36 if interactions else 8, "pairs": pairs, "rare": rare} | row
        for interactions, pairs, rare in product((False, True), config.few_pairs, (False, True))
        for row in cautions_compared(config, worlds(0.8, pairs, interactions, rare))
    ]
    settings = config.model_dump(mode="json")
    record("choices-rules", settings, by_rule)
    record("choices-caution", settings, by_caution)


class World:
    """Populations, the heads that were fitted to their pairs, and the answers of a policy."""

    def __init__(
        self,
        sources: int,
        seed: int,
        drift: float,
        pairs: int,
        interactions: bool = False,
        rare: bool = False,
    ) -> None:
        from more_ray.calibrate.fit import fit
        from more_ray.calibrate.populations import Populations
        from more_ray.data.simulated import SHARED_WEIGHTS_A, Simulator

        self._rng = np.random.default_rng(seed)
        self._z_H = features(interactions)
        simulator = Simulator(sources=sources, drift=drift, seed=seed)
        weights = [SHARED_WEIGHTS_A, *simulator.weights.values()]
        self._true_P = np.stack(weights) @ features(False).T
        made = self._pairs(simulator, pairs, rare)
        prompt_N = np.arange(len(made.dz_NH), dtype=np.uint64)
        found, _ = fit(made, prompt_N, "attributes", folds=5, seed=seed, prior_H=None)
        self._populations = Populations(found)

    def _pairs(self, simulator: Simulator, pairs: int, rare: bool) -> Any:
        from more_ray.calibrate.pairs import make_pairs
        from more_ray.metrics.calibration import sigmoid

        often_A = (0.1 if rare else 1.0) ** features(False)[:, 4:].sum(axis=1)
        dz_NH, names = [], simulator.names()
        for source in range(len(names)):
            share_A = often_A / often_A.sum()
            first_n, second_n = self._rng.choice(len(share_A), (2, pairs), p=share_A)
            true_A = self._true_P[1 + source]
            likes_n = self._rng.random(pairs) < sigmoid(true_A[first_n] - true_A[second_n])
            side_n1 = np.where(likes_n, 1, -1)[:, None]
            dz_NH.append(side_n1 * (self._z_H[first_n] - self._z_H[second_n]))
        source_N = np.repeat(np.arange(len(names)), pairs)
        return make_pairs(np.concatenate(dz_NH), source_N, names)

    def prompt(self, samples: int) -> tuple[ByPopulation, Floats]:
        """What the heads say of the answers to a prompt, and the true rewards `[P, A]`."""
        answer_A = self._rng.integers(len(self._z_H), size=samples)
        return self._populations.by_population(self._z_H[answer_A]), self._true_P[:, answer_A]


def features(interactions: bool) -> Floats:
    """`[answers, H]` of all answers that the simulator can give."""
    from more_ray.data.simulated import ANSWERS, ATTRIBUTES

    z_AH = np.array([[float(i in answer) for i in range(len(ATTRIBUTES))] for answer in ANSWERS])
    if interactions:
        both = [z_AH[:, i] * z_AH[:, j] for i, j in combinations(range(z_AH.shape[1]), 2)]
        z_AH = np.column_stack([z_AH, *both])
    return z_AH


def rules_compared(config: ChoicesBenchmark, worlds: list[World]) -> list[dict[str, Any]]:
    """A row per rule: true gains, and how they differ from those of shared in the same worlds."""
    from more_ray.sample.choice import gains, worth

    found = {by: [] for by in (*RULES, "worst, by the truth")}
    for world in worlds:
        of_world: dict[str, list[Floats]] = {by: [] for by in found}
        for _ in range(config.prompts):
            said, true_PA = world.prompt(config.samples)
            gain_PA = gains(true_PA)
            for by in found:
                reward_PA = true_PA if by.endswith("truth") else said.reward_PA
                chosen = worth(by.partition(",")[0], said.names, reward_PA).argmax()
                of_world[by].append(gain_PA[:, chosen])
        for by, several in of_world.items():
            found[by].append(_measures(np.stack(several)))
    rows = []
    for by, measures in found.items():
        row: dict[str, Any] = {"best by": by}
        for name in measures[0]:
            value_D = np.array([one[name] for one in measures])
            shared_D = np.array([one[name] for one in found["shared"]])
            row |= {name: _written(value_D), f"{name}, less shared's": _written(value_D - shared_D)}
        rows.append(row)
    return rows


def _measures(gain_NP: Floats) -> dict[str, float]:
    """Of the chosen answers to all prompts of a world."""
    of_source_K = gain_NP.mean(axis=0)[1:]
    return {
        "least pleased source": float(of_source_K.min()),
        "least, by prompt": float(gain_NP[:, 1:].min(axis=1).mean()),
        "mean of sources": float(of_source_K.mean()),
        "most pleased source": float(of_source_K.max()),
        "everybody": float(gain_NP[:, 0].mean()),
    }


def cautions_compared(config: ChoicesBenchmark, worlds: list[World]) -> list[dict[str, Any]]:
    """A row per caution and number of samples: true gains, also less those without caution."""
    from more_ray.sample.choice import best_of, doubling, gains, worth

    size_N = doubling(config.most_samples)
    found: dict[float, list[Floats]] = {}
    for world in worlds:
        of_world: dict[float, list[Floats]] = {}
        for _ in range(config.prompts):
            said, true_PA = world.prompt(config.most_samples)
            assert said.deviation_PA is not None
            gain_PA, said_PA = gains(true_PA), gains(said.reward_PA)
            value_QA = np.stack([gain_PA[0], gain_PA[1:].mean(axis=0), said_PA[0]])
            for caution in config.cautions:
                doubt_PA = caution * said.deviation_PA
                worth_A = worth("shared", said.names, said.reward_PA, doubt_PA)
                gain_NQ = best_of(worth_A, value_QA, config.most_samples, size_N)
                of_world.setdefault(caution, []).append(gain_NQ)
        for caution, several in of_world.items():
            found.setdefault(caution, []).append(np.mean(several, axis=0))
    rows = []
    for caution, several in found.items():
        gain_DNQ, plain_DNQ = np.stack(several), np.stack(found[config.cautions[0]])
        for at, size in enumerate(size_N):
            row: dict[str, Any] = {"caution": caution, "samples": size}
            for place, name in enumerate(("everybody", "mean of sources")):
                gain_D = gain_DNQ[:, at, place]
                row[name] = _written(gain_D)
                row[f"{name}, less without"] = _written(gain_D - plain_DNQ[:, at, place])
            row["everybody, as the heads say"] = _written(gain_DNQ[:, at, -1])
            rows.append(row)
    return rows


def _written(value_D: Floats) -> str:
    from more_ray.metrics.intervals import student

    low, high = student(value_D)
    return f"{np.mean(value_D):+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
