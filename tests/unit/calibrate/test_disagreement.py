from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from more_ray.calibrate.disagreement import compare_drifts, disagreements_table, parts_of
from more_ray.calibrate.texts import read_texts
from more_ray.config import ModelConfig
from more_ray.data.prepared import PAIR_SCHEMA, Prepared
from more_ray.metrics.calibration import sigmoid
from more_ray.metrics.scores import SourceScores
from more_ray.model.heads_file import Calibration, Heads, Posterior, Ridge
from more_ray.model.tokenizer import training_tokenizer
from more_ray.parquet import write_table

NAMES = ("shared", "source")
"""Sources may be called what columns are called."""


def test_drifts_are_alike_that_do_the_same_to_pairs() -> None:
    """As vectors they lie almost opposite, along an axis in which no two answers differ much."""
    dz_NH = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.01], [0.0, -0.01]])
    heads = Heads(np.array([2.0, 0.0]), np.array([[1.0, 10.0], [1.0, -10.0], [0.0, 10.0]]))
    found = compare_drifts(("a", "b", "c"), parts_of(heads, dz_NH))
    # Sums over the pairs: 2 (1 +- 0.1^2) of a with a and with b, 2 0.1^2 of c, 2 2^2 of w.
    assert found["cosine"]["a"]["b"] == pytest.approx(0.99 / 1.01)
    assert found["cosine"]["b"]["c"] == pytest.approx(-0.1 / np.sqrt(1.01))
    assert found["cosine"]["c"]["c"] == pytest.approx(1.0)
    assert found["size"] == pytest.approx(
        {"a": np.sqrt(1.01) / 2, "b": np.sqrt(1.01) / 2, "c": 0.05}
    )


@pytest.fixture
def fitted() -> Calibration:
    heads = Heads(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [0.0, -1.0]]))
    posterior = Posterior(np.eye(2), np.stack([np.eye(2)] * 2))
    ridge = Ridge(1.0, 1.0)
    temperature_K = np.array([1.0, 2.0])
    return Calibration(NAMES, "", heads, 1.0, 4.0, temperature_K, ridge, posterior, 1.0)


def scores(first: int) -> SourceScores:
    zero_N = np.zeros(2)
    return SourceScores(np.array([first, first + 1]), *[zero_N] * 4)


def test_the_probability_of_every_pair_by_every_head(fitted: Calibration) -> None:
    dz_NH = np.array([[1.0, 0.0], [0.0, 3.0]])
    part_NK = parts_of(fitted.heads, dz_NH)
    found = disagreements_table(
        fitted, {"shared": scores(10), "source": scores(20)}, dict.fromkeys(NAMES, part_NK)
    )
    assert found["source"].to_pylist() == ["shared", "shared", "source", "source"]
    assert found["pair"].to_pylist() == [10, 11, 20, 21]
    # The first pair's rewards differ by 1 for all, the second's by 3, -3 and 0; then temperatures.
    for column, delta in (
        ("shared", (1 / 4, 0)),
        ("own.shared", (1, 3)),
        ("own.source", (1 / 2, -3 / 2)),
    ):
        np.testing.assert_allclose(found[column], sigmoid(np.array(delta * 2)))
    apart = (sigmoid(1.0) - sigmoid(0.5), sigmoid(3.0) - sigmoid(-1.5))
    np.testing.assert_allclose(found["disagreement"], apart * 2)


def test_texts_are_columns_only_where_they_are_given(fitted: Calibration) -> None:
    both = {name: scores(0) for name in NAMES}
    parts = dict.fromkeys(NAMES, parts_of(fitted.heads, np.eye(2)))
    text = pa.table({"text.shared": ["a", "b"]})
    found = disagreements_table(fitted, both, parts, {"shared": text, "source": text})
    assert found["text.shared"].to_pylist() == ["a", "b", "a", "b"]
    without = disagreements_table(fitted, both, parts)
    assert without.equals(found.drop_columns(["text.shared"]))


def test_one_population_of_many_that_stands_apart_counts_as_one_of_two(fitted: Calibration) -> None:
    alone = replace(fitted, names=(*NAMES, "c"), temperature_K=np.array([1.0, 2.0, 2.0]))
    part_NK = np.array([[0.0, 3.0, -3.0, -3.0]] * 2)
    three = disagreements_table(
        alone, dict.fromkeys(alone.names, scores(0)), dict.fromkeys(alone.names, part_NK)
    )
    assert three["disagreement"][0].as_py() == pytest.approx(sigmoid(3.0) - sigmoid(-1.5))


def test_tokens_of_test_pairs_are_read_as_text(tmp_path: Path) -> None:
    tokenizer = training_tokenizer(ModelConfig(path="tiny"), 64)
    texts = {
        "shared": "Human: What should a beginner know about saving money?\n\nAssistant:",
        "chosen": " In short, begin today.",
        "rejected": " Be careful.",
    }
    ends = {"shared": "", "chosen": tokenizer.eos_token, "rejected": tokenizer.eos_token}
    row = {
        part: tokenizer(text + ends[part], add_special_tokens=False)["input_ids"]
        for part, text in texts.items()
    }
    numbers = dict.fromkeys(
        ("pair", "key", "prompt", "tokens", "chosen_characters", "rejected_characters"), 0
    )
    write_table(
        str(tmp_path / "a.test.parquet"), pa.Table.from_pylist([numbers | row], PAIR_SCHEMA)
    )
    (tmp_path / "manifest.json").write_text(json.dumps({"sources": {"a": {"test": 1}}}))
    found = read_texts(Prepared.open(str(tmp_path)), tokenizer)["a"].to_pylist()
    assert found == [{f"text.{part}": text for part, text in texts.items()}]
