"""What sets the first model apart from others, and what does not.

"Shown" is p < 0.05 divided by the number of tests (Bonferroni): of accuracy, of ECE and of NLL,
against every other model. "Likely" is a 95% interval without zero at a larger p.
"""

from __future__ import annotations

from collections.abc import Mapping

from more_ray.metrics.evaluation import Difference, Differences
from more_ray.metrics.measures import MEASURES
from more_ray.metrics.written import interval_text
from more_ray.report.words import listed

CLAIMS = {
    "accuracy": ("more accurate", "less accurate"),
    "ece": ("better calibrated", "worse calibrated"),
    "nll": ("better by the loss", "worse by the loss"),
}
"""What a model is called that is better, or worse, by a measure that is tested."""
Sides = Mapping[str, Mapping[str, int]]
"""By other model and measure: 1 where the first is better, -1 where it is worse, 0 if unknown."""


def shown_sides(differences: Mapping[str, Differences]) -> Sides:
    """What is shown."""
    return {
        other: {
            key: _side(key, measures[key]) if measures[key]["p"] < _level(differences) else 0
            for key in CLAIMS
        }
        for other, measures in differences.items()
    }


def beside(differences: Mapping[str, Differences], shown: Sides) -> str:
    """What is shown of it and others, what is likely, and from which others nothing sets it
    apart."""
    likely = _likely_sides(differences, shown)
    sentences = []
    if claims := _claims(shown, differences):
        sentences.append(f"Shown: it is {claims}.")
    if claims := _claims(likely):
        tests = len(CLAIMS) * len(differences)
        sentences.append(
            f"Likely, but not shown at the threshold for {tests} tests (p below "
            f"{_level(differences):.2g}): it is {claims}."
        )
    if equal := [
        other for other in shown if not any((*shown[other].values(), *likely[other].values()))
    ]:
        numbers = ""
        if len(equal) == 1:
            numbers = "; ".join(_numbers(key, differences[equal[0]][key]) for key in CLAIMS)
            numbers = f" ({numbers})"
        sentences.append(f"These test pairs do not tell it apart from {listed(equal)}{numbers}.")
    return " ".join(sentences)


def _level(differences: Mapping[str, Differences]) -> float:
    return 0.05 / max(1, len(CLAIMS) * len(differences))


def _side(key: str, found: Difference) -> int:
    larger_is_better = MEASURES[key].better == "max"
    return 1 if (found["difference"] > 0) == larger_is_better else -1


def _likely_sides(differences: Mapping[str, Differences], shown: Sides) -> Sides:
    def side(key: str, found: Difference) -> int:
        low, high = found["ci"]
        return 0 if low <= 0 <= high else _side(key, found)

    return {
        other: {
            key: 0 if known else side(key, differences[other][key]) for key, known in sides.items()
        }
        for other, sides in shown.items()
    }


def _claims(sides: Sides, differences: Mapping[str, Differences] | None = None) -> str:
    """`more accurate and better calibrated than a; ... than b`; `more accurate (+5.0 points)` where
    differences are given."""
    others: dict[str, list[str]] = {}
    for other, by_measure in sides.items():
        words = [
            CLAIMS[key][side < 0]
            + (f" ({_change(key, differences[other][key])})" if differences else "")
            for key, side in by_measure.items()
            if side
        ]
        if words:
            others.setdefault(listed(words), []).append(other)
    return "; ".join(f"{claim} than {listed(names)}" for claim, names in others.items())


def _change(key: str, found: Difference) -> str:
    """`+5.0 points`, or `ECE -0.049`."""
    if key == "accuracy":
        return f"{100 * found['difference']:+.1f} points"
    return f"{MEASURES[key].name} {found['difference']:+.3f}"


def _numbers(key: str, found: Difference) -> str:
    """The difference with its interval."""
    if key == "accuracy":
        ends = interval_text([100 * end for end in found["ci"]], "+.1f", " to ")
        return f"accuracy {_change(key, found)}, {ends}"
    return f"{_change(key, found)}, {interval_text(found['ci'], '+.3f', ' to ')}"
