from __future__ import annotations

from more_ray.metrics.written import interval_text, plus_minus, signed, with_interval


def test_numbers_are_written_with_their_intervals() -> None:
    assert with_interval(0.612, [0.59, 0.634]) == "0.612 (0.590-0.634)"
    assert with_interval(12.3, [9.0, 15.6], ".2f") == "12.30 (9.00-15.60)"
    assert signed(0.03, [-0.01, 0.07]) == "+0.030 (-0.010 to +0.070)"
    assert plus_minus(0.612, [0.59, 0.634]) == "0.612 ±0.022"
    assert interval_text([0.5, 0.75], ".1%", " to ") == "50.0% to 75.0%"


def test_without_an_interval_and_without_a_value() -> None:
    assert with_interval(0.612, None) == "0.612"
    assert with_interval(None, None) == signed(None, None) == "-"
