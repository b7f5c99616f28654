"""The names that readers see."""

from __future__ import annotations

from more_ray.metrics.shown_names import policy_name, run_name, shown_name


def test_the_paper_s_names() -> None:
    assert [shown_name(name) for name in ("more", "proportional", "averaging")] == [
        *("MORE", "MultiTask", "Averaging")
    ]
    assert [shown_name(name) for name in ("raw", "drift", "uniform")] == [
        *("untrained", "shared + drift", "uniform")
    ]
    assert shown_name("org/model") == "org/model"


def test_a_policy_is_called_by_what_chose_its_answers() -> None:
    assert policy_name("more", "shared") == "MORE"
    assert policy_name("proportional", "source=helpful") == "MultiTask (source=helpful)"


def test_a_run_is_called_by_what_it_learns_from() -> None:
    assert run_name("more", [], "shared", untrained=False) == "MORE"
    assert run_name("uniform", ["helpful"], "shared", untrained=False) == "Top (helpful)"
    assert run_name("uniform", [], "shared+drift", untrained=False) == "shared + drift"
    assert run_name("more", [], "shared+drift", untrained=False) == "shared + drift (MORE)"
    assert run_name("more", ["a", "b"], "shared", untrained=False) == "MORE on a, b"
    assert run_name("more", ["a"], "shared+drift", untrained=True) == "untrained"
