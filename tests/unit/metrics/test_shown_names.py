"""The names that readers see."""

from __future__ import annotations

from more_ray.metrics.shown_names import shown_name, top


def test_the_paper_s_names() -> None:
    assert [shown_name(name) for name in ("more", "proportional", "averaging")] == [
        *("MORE", "MultiTask", "Averaging")
    ]
    assert [shown_name(name) for name in ("raw", "drift", "uniform")] == [
        *("untrained", "shared + drift", "uniform")
    ]
    assert shown_name("org/model") == "org/model"
    assert top("helpful") == "Top (helpful)"
