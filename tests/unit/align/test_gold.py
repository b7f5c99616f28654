"""Whose answers a reward model prefers that took no part."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from more_ray.align.gold import EVERYBODY, preferences
from more_ray.sample.schemas import SCORED_SCHEMA
from more_ray.sample.scored import with_names

NAMES = ("helpful", "harmless")


def table(score_NS: np.ndarray, policy: str, names: tuple[str, ...] = NAMES) -> pa.Table:
    """The reward of everybody and of helpful is the score, that of harmless its opposite."""
    rows = [
        {
            "row": row,
            "prompt": [],
            "sample": sample,
            "response": f"{policy} {sample}" if np.isfinite(score) else "",
            "tokens": 1,
            "finished": True,
            "score": score if np.isfinite(score) else None,
            "duplicate": False,
            "selected": False,
            "rewards": [score, -score] if names and np.isfinite(score) else None,
            "deviations": None,
        }
        for (row, sample), score in np.ndenumerate(score_NS)
    ]
    return pa.Table.from_pylist(rows, with_names(SCORED_SCHEMA, names))


def test_shares_are_of_all_pairs_of_answers_to_a_prompt() -> None:
    rng = np.random.default_rng(0)
    ours_NS, theirs_NS = (rng.standard_normal((20, 3)).astype(np.float32) for _ in range(2))
    found = preferences(table(ours_NS, "a"), table(theirs_NS, "b"))
    assert list(found) == [EVERYBODY, *NAMES]
    wins = [
        np.mean([our > their for our, their in product(*both)])
        for both in zip(ours_NS, theirs_NS, strict=True)
    ]
    assert found[EVERYBODY]["win"]["mean"] == pytest.approx(np.mean(wins))
    assert found["helpful"] == found[EVERYBODY]
    assert found["harmless"]["win_rate"]["mean"] == pytest.approx(1 - np.mean(wins))
    assert found[EVERYBODY]["win_rate"]["n"] == 20


def mean(found: dict[str, dict[str, Any]], name: str) -> float:
    return found[EVERYBODY][name]["mean"]


def test_equal_answers_tie_whatever_the_last_digit_of_their_scores() -> None:
    score_NS = np.ones((4, 1), np.float32)
    found = preferences(table(score_NS, "same"), table(score_NS + 1e-6, "same"))
    assert mean(found, "tie") == 1
    assert mean(found, "win_rate") == 0.5
    found = preferences(table(score_NS, "one"), table(score_NS + 1e-6, "other"))
    assert mean(found, "lose") == 1


def test_prompts_without_an_answer_are_left_out() -> None:
    ours_NS = np.array([[1, 2], [np.nan, np.nan], [3, np.nan]], np.float32)
    theirs_NS = np.array([[0, 3], [1, 2], [1, 2]], np.float32)
    found = preferences(table(ours_NS, "a", ()), table(theirs_NS, "b", ()))
    assert list(found) == [EVERYBODY]
    assert found[EVERYBODY]["win"]["n"] == 2
    assert mean(found, "win") == pytest.approx((0.5 + 1) / 2)


def test_a_policy_that_answers_nothing() -> None:
    ours_NS, theirs_NS = np.full((3, 1), np.nan, np.float32), np.ones((3, 1), np.float32)
    found = preferences(table(ours_NS, "a"), table(theirs_NS, "b"))
    assert all(share == {"mean": None, "ci": None, "n": 0} for share in found[EVERYBODY].values())
