from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from more_ray.judge.summary import summarise, win_rate_interval

COUNT = st.integers(0, 500)


@settings(deadline=None)  # the first call of scipy's is slow
@given(COUNT, COUNT, COUNT, COUNT)
def test_everything_is_counted(win: int, tie: int, lose: int, unparsable: int) -> None:
    names = ["win"] * win + ["tie"] * tie + ["lose"] * lose + ["unparsable"] * unparsable
    result = summarise(names)
    assert result["win"] + result["tie"] + result["lose"] + result["unparsable"] == len(names)
    assert result["pairs"] == len(names)
    if win + tie + lose == 0:
        assert result["win_rate"] is None
        return
    assert sum(share["share"] for share in result["shares"].values()) == pytest.approx(1)
    low, high = result["win_rate_ci"]
    assert 0 <= low <= result["win_rate"] <= high <= 1
    assert low < high


def test_a_tie_is_half_a_win() -> None:
    assert summarise(["win", "tie", "tie", "lose", "unparsable"])["win_rate"] == 0.5
    assert summarise(["win", "win", "tie", "lose"])["win_rate"] == 0.625


@pytest.mark.parametrize("pairs", [20, 200])
@pytest.mark.parametrize("shares", [(0.4, 0.4, 0.2), (0.1, 0.85, 0.05), (0.9, 0.05, 0.05)])
def test_intervals_cover_the_true_win_rate(pairs: int, shares: tuple[float, ...]) -> None:
    truth = shares[0] + shares[1] / 2
    counts = np.random.default_rng(0).multinomial(pairs, shares, size=2_000)
    intervals = [win_rate_interval(*map(int, count)) for count in counts]
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert 0.94 <= covered <= 0.995
