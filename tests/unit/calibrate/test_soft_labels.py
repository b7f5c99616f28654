"""Heads that are fitted to shares of votes, against heads fitted to what most prefer."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from linear_world import drawn_heads, voted

from more_ray import storage
from more_ray.calibrate.fit import fit, fit_one_head, temperatures
from more_ray.calibrate.pairs import Pairs, make_pairs
from more_ray.calibrate.run import training_pairs
from more_ray.data.prepared import PAIR_SCHEMA, PairWriter, Prepared
from more_ray.metrics.calibration import true_calibration_error
from more_ray.metrics.intervals import student
from more_ray.metrics.temperature import fit_temperature
from more_ray.model.heads_file import Heads

HIDDEN, SOURCES, PAIRS, NAMES = 4, 2, 150, ("a", "b")


def both_ways(seed: int, votes: int) -> tuple[Heads, Pairs, Pairs]:
    """The true heads, pairs with shares of votes, and the same with what most prefer."""
    rng = np.random.default_rng(seed)
    truth = drawn_heads(rng, SOURCES, HIDDEN, 0.5, 0.3)
    parts = [voted(rng, PAIRS, head_H, votes) for head_H in truth.own_KH]
    dz_NH, share_N = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    source_N = np.repeat(np.arange(SOURCES), PAIRS)
    decided = share_N != 0.5
    hard = make_pairs(dz_NH[decided], source_N[decided], NAMES)
    return truth, make_pairs(dz_NH, source_N, NAMES, "uniform", share_N), hard


def to_truth(truth: Heads, pairs: Pairs) -> float:
    """Mean distance of the own heads' probabilities to the true ones, on new pairs."""
    prompt_N = np.arange(len(pairs.source_N), dtype=np.uint64)
    fitted, _ = fit(pairs, prompt_N, "", 3, 0, None)
    dz_NH = np.random.default_rng(99).standard_normal((2_000, HIDDEN))
    return float(
        np.mean(
            [
                true_calibration_error(dz_NH @ head_H, 1 / (1 + np.exp(-dz_NH @ true_H)))
                for head_H, true_H in zip(fitted.folded_KH, truth.own_KH, strict=True)
            ]
        )
    )


def test_soft_labels_come_nearer_to_the_truth_than_hard_ones() -> None:
    """Four votes a pair, twelve worlds; 95% intervals of the two means lie apart."""
    distances = []
    for seed in range(12):
        truth, soft, hard = both_ways(seed, votes=4)
        distances.append([to_truth(truth, soft), to_truth(truth, hard)])
    soft_S, hard_S = np.array(distances).T
    assert student(soft_S)[1] < student(hard_S)[0]


def test_temperatures_are_fitted_to_shares_and_weights() -> None:
    _, soft, _ = both_ways(0, votes=4)
    rng = np.random.default_rng(0)
    weight_N, head_H = rng.uniform(0.2, 3, len(soft.source_N)), rng.standard_normal(HIDDEN)
    pairs = make_pairs(soft.dz_NH, soft.source_N, NAMES, "uniform", soft.label_N, weight_N)
    fitted, delta_N = temperatures("", pairs, head_H), pairs.dz_NH @ head_H
    assert fitted.shared_temperature == fit_temperature(delta_N, soft.label_N, weight_N)
    first = pairs.source_N == 0
    expected = fit_temperature(delta_N[first], soft.label_N[first], weight_N[first])
    assert fitted.temperature_K[0] == expected


def test_a_weight_is_as_many_pairs_to_one_head_for_all() -> None:
    _, soft, _ = both_ways(0, votes=4)
    prompt_N = np.arange(len(soft.source_N), dtype=np.uint64)
    times_N = np.random.default_rng(0).integers(1, 4, len(soft.source_N))
    row_M = np.repeat(np.arange(len(times_N)), times_N)
    heavy = make_pairs(soft.dz_NH, soft.source_N, NAMES, "uniform", soft.label_N, times_N)
    repeated = make_pairs(
        soft.dz_NH[row_M], soft.source_N[row_M], NAMES, "uniform", soft.label_N[row_M]
    )
    found = fit_one_head(heavy, prompt_N, "", 3, 0, None)
    expected = fit_one_head(repeated, prompt_N[row_M], "", 3, 0, None)
    # Spectra, of which the grid of ridges comes, are estimated from few of the pairs.
    np.testing.assert_allclose(found.folded_H, expected.folded_H, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("soft", [False, True])
def test_pairs_are_read_with_their_shares_and_weights(soft: bool, tmp_path: Path) -> None:
    row: dict[str, Any] = dict.fromkeys(PAIR_SCHEMA.names, 0) | {
        **{name: [1] for name in ("shared", "chosen", "rejected")},
        **dict.fromkeys(("margin", "probability", "subset", "share", "weight")),
    }
    for name in NAMES:
        filesystem, path = storage.locate(str(tmp_path / f"{name}.train.parquet"))
        further = {"share": 0.75, "weight": 2.0} if soft and name == "b" else {}
        with PairWriter(path, filesystem) as writer:
            writer.write(pa.Table.from_pylist([row, row | further], PAIR_SCHEMA))
    (tmp_path / "manifest.json").write_text(json.dumps({"sources": {"a": {}, "b": {}}}))
    features: Any = SimpleNamespace(
        prepared=Prepared.open(str(tmp_path)), differences=lambda name, split: np.eye(2)
    )
    pairs, _ = training_pairs(features, NAMES, "proportional")
    assert pairs.label_N.tolist() == [1, 1, 1, 0.75 if soft else 1]
    assert pairs.weight_N.tolist() == [1, 1, 1, 2 if soft else 1]
