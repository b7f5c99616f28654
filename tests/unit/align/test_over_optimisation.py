"""What the best of n samples gains, by the reward that chooses and by another."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from more_ray.align.measures import by_source
from more_ray.align.over_optimisation import best_of_curves
from more_ray.sample.schemas import SCORED_SCHEMA
from more_ray.sample.scored import scored_prompts, with_names

ROWS, SAMPLES = 40, 4
NAMES = ("ours", "theirs")


def table(score_PS: np.ndarray, rewards_PSK: np.ndarray | None) -> pa.Table:
    rows = [
        {
            "row": row,
            "prompt": [],
            "sample": sample,
            "response": "an answer",
            "tokens": 1,
            "finished": True,
            "score": score_PS[row, sample],
            "duplicate": False,
            "selected": False,
            "rewards": None if rewards_PSK is None else rewards_PSK[row, sample].tolist(),
            "deviations": None,
        }
        for row in range(ROWS)
        for sample in range(SAMPLES)
    ]
    return pa.Table.from_pylist(
        rows, with_names(SCORED_SCHEMA, () if rewards_PSK is None else NAMES)
    )


def test_each_reward_judges_what_one_chose() -> None:
    rng = np.random.default_rng(0)
    score_PS, other_PS = rng.standard_normal((2, ROWS, SAMPLES)).astype(np.float32)
    rewards_PSK = np.stack([score_PS, -score_PS], axis=-1)
    samples = {"more": table(score_PS, rewards_PSK), "proportional": table(other_PS, None)}
    prompts = {name: list(scored_prompts(one)) for name, one in samples.items()}
    found = best_of_curves(prompts, "more", "shared")
    assert found["n"] == [1, 2, 4]
    best_P = score_PS.argmax(axis=1)[:, None]
    for name, value_PS in (("more", score_PS), ("proportional", other_PS)):
        gain_P = np.take_along_axis(value_PS, best_P, 1)[:, 0] - value_PS.mean(axis=1)
        start, _, end = found["reward_models"][name]
        assert start["mean"] == pytest.approx(0, abs=1e-6)
        assert end["mean"] == pytest.approx(gain_P.mean(), abs=1e-6)
    own, opposite = (found["sources"][name][-1]["mean"] for name in NAMES)
    assert own == pytest.approx(found["reward_models"]["more"][-1]["mean"])
    assert opposite == pytest.approx(-own)
    # Of two opposite wishes, no answer gains by both: worst takes what is nearest to the mean.
    fair = best_of_curves(prompts, "more", "worst")["sources"]
    assert abs(fair["ours"][-1]["mean"]) < 0.5 * own
    by_gold = best_of_curves(prompts, "proportional", "shared", gold="more")
    assert by_gold["sources"] == {}
    best_P = other_PS.argmax(axis=1)[:, None]
    gain_P = np.take_along_axis(score_PS, best_P, 1)[:, 0] - score_PS.mean(axis=1)
    ours, theirs = (by_gold["gold"][name][-1]["mean"] for name in NAMES)
    assert ours == pytest.approx(gain_P.mean(), abs=1e-6)
    assert theirs == pytest.approx(-ours)


def test_rewards_by_source_are_means_of_prompts() -> None:
    score_PS = np.arange(ROWS * SAMPLES, dtype=float).reshape(ROWS, SAMPLES)
    found = by_source(table(score_PS, np.stack([score_PS, -score_PS], axis=-1)))
    assert found["ours"] == pytest.approx(score_PS.mean(axis=1))
    assert found["theirs"] == pytest.approx(-score_PS.mean(axis=1))
    assert by_source(table(score_PS, None)) == {}
