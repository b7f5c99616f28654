"""The words of the verdict follow from the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from more_ray.metrics.scores import SourceScores
from more_ray.report.models import Model, RunFiles
from more_ray.report.verdict import verdict

SURE = 2.0
"""A reward difference that means a probability of 0.88."""


def measures(accuracy: float, ece: float, low: float = 0.0, longer: float = 0.55) -> dict[str, Any]:
    return {
        "n": 400,
        "accuracy": accuracy,
        "accuracy_ci": [accuracy - 0.03, accuracy + 0.03],
        "ece": ece,
        "ece_ci": [low, ece + 0.02],
        "ece_noise_floor": 0.03,
        "ece_at_temperature": 0.032,
        "longer_answer_accuracy": longer,
    }


def model(name: str = "MORE", right: int = 90, **ways: Any) -> Model:
    """Right on `right` of 100 pairs, and as sure of each.

    Args:
        ways: the means of `eval.json` by way to score; `own` is that of the model itself.
    """
    own = ways.pop("own", measures(0.65, 0.031))
    evaluation = {"scheme": "more", "step": 9, "sources": {"ours": own, "theirs": own}, "mean": own}
    evaluation |= {way: {"sources": {}, "mean": mean} for way, mean in ways.items()}
    delta_N = np.where(np.arange(100) < right, SURE, -SURE)
    scores = SourceScores(*(np.arange(100), delta_N, np.zeros(100)), *[np.ones(100)] * 2)
    line = {"lam": {"ours": 0.5, "theirs": 0.5}}
    run = RunFiles(name, evaluation, {"ours": scores}, [line], None, None, None)
    return Model(name, [run], evaluation)


def apart(accuracy: float, ece: float, p_accuracy: float = 0.5, p_ece: float = 0.5) -> Any:
    """What the first model's means differ by."""
    return {
        key: {"difference": value, "ci": [value - 0.01, value + 0.01], "p": p}
        for key, value, p in (("accuracy", accuracy, p_accuracy), ("ece", ece, p_ece))
    }


def test_a_clear_winner() -> None:
    multitask = model("MultiTask", own=measures(0.6, 0.08, 0.04))
    found = verdict([model(), multitask], {"MultiTask": apart(0.05, -0.049, 0.001, 0.001)})
    assert found == {
        "Accuracy": "MORE, the most accurate of 2 models, agrees with people on 65.0% of the test "
        "pairs (62.0% to 68.0%). Taking the longer answer does on 55.0%.",
        "Trust": "Its probabilities hold as far as these pairs tell. Where it counts most, it "
        "says 88% and is right 90% of the time (83% to 94%; all sources together). Calibration "
        "error (ECE) 0.031, in truth at most 0.051; a perfect model would show 0.030 by chance.",
        "Beside others": "Beyond chance it is more accurate (+5.0 points) and better calibrated "
        "(ECE -0.049) than MultiTask.",
        "Next": "It can be used as it is (more-ray serve).",
    }


def test_a_tie() -> None:
    found = verdict([model(), model("MultiTask")], {"MultiTask": apart(0.002, -0.004)})
    assert found["Beside others"] == (
        "These test pairs do not tell it apart from MultiTask (accuracy +0.2 points, -0.8 to +1.2; "
        "ECE -0.004, -0.014 to +0.006)."
    )
    assert found["Next"].startswith("Nothing here favours it over MultiTask:")


def test_more_accurate_but_worse_calibrated() -> None:
    models = [model(own=measures(0.7, 0.09, 0.06), right=50), model("MultiTask")]
    found = verdict(models, {"MultiTask": apart(0.05, 0.06, 0.001, 0.001)})
    assert found["Trust"] == (
        "Its probabilities cannot be trusted as they are. Where it counts most, it says 88% "
        "and is right 50% of the time (40% to 60%; all sources together). Calibration error (ECE) "
        "0.090, in truth 0.060 to 0.110; a perfect model would show 0.030 by chance."
    )
    assert found["Beside others"] == (
        "Beyond chance it is more accurate (+5.0 points) but worse calibrated (ECE +0.060) than "
        "MultiTask."
    )
    assert found["Next"] == (
        "Calibrate it before its probabilities are used (more-ray calibrate); a temperature for "
        "each source, which changes no ranking, brings the ECE to 0.032."
    )


def test_another_is_better() -> None:
    models = [model(), model("MultiTask", own=measures(0.7, 0.03)), model("Averaging")]
    others = {"MultiTask": apart(-0.05, 0.001, 0.001), "Averaging": apart(0.001, 0.001)}
    found = verdict(models, others)
    assert found["Accuracy"].startswith("MORE agrees with people on 65.0%")
    assert found["Accuracy"].endswith("does on 55.0%; MultiTask agrees on the most, 70.0%.")
    assert found["Beside others"] == (
        "Beyond chance it is less accurate (-5.0 points) than MultiTask. These test pairs "
        "do not tell it apart from Averaging (accuracy +0.1 points, -0.9 to +1.1; ECE "
        "+0.001, -0.009 to +0.011)."
    )
    assert found["Next"] == "Use MultiTask instead."


def test_another_is_more_accurate_but_worse_calibrated() -> None:
    models = [model(), model("MultiTask", own=measures(0.7, 0.09))]
    found = verdict(models, {"MultiTask": apart(-0.05, -0.06, 0.001, 0.001)})
    assert found["Beside others"] == (
        "Beyond chance it is less accurate (-5.0 points) but better calibrated (ECE -0.060) than "
        "MultiTask."
    )
    assert found["Next"] == (
        "Use MultiTask where only the order of answers counts, MORE for probabilities."
    )


def test_a_p_value_counts_for_less_among_many() -> None:
    """0.02 is below 0.05 / 2 of one other model, not below 0.05 / 6 of three."""
    found = apart(0.05, 0.0, 0.02)
    assert (
        "Beyond chance it is more accurate" in verdict([model()], {"raw": found})["Beside others"]
    )
    many = verdict([model()], dict.fromkeys("abc", found))["Beside others"]
    assert many == "These test pairs do not tell it apart from a, b and c."


def test_a_single_model() -> None:
    found = verdict([model()], {})
    assert list(found) == ["Accuracy", "Trust", "Next"]
    assert found["Accuracy"].startswith("MORE agrees with people on 65.0% of the test pairs")
    assert "compare=[proportional]" in found["Next"]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (measures(0.52, 0.03), "Do not use it, for it is not shown to beat a coin."),
        (measures(0.6, 0.03, longer=0.6), "It is not shown to beat taking the longer answer."),
    ],
)
def test_one_that_has_learnt_too_little(own: dict[str, Any], words: str) -> None:
    assert verdict([model(own=own)], {})["Next"].startswith(words)


def test_too_few_pairs_to_trust_it() -> None:
    found = verdict([model(own=measures(0.65, 0.09))], {})["Trust"]
    assert found.startswith("Whether its probabilities hold takes more test pairs to tell. Where")
    assert "(ECE) 0.090, in truth at most 0.110;" in found


def test_a_source_that_it_does_not_serve() -> None:
    one = model()
    one.evaluation["sources"]["theirs"] = measures(0.5, 0.03)
    assert verdict([one], {})["Next"].endswith("on theirs it is not shown to beat a coin.")


def test_sources_that_want_the_opposite() -> None:
    """As with two groups of which a single head can serve one: on the mean it is a coin."""
    one = model(own=measures(0.5, 0.03))
    one.evaluation["sources"] = {"ours": measures(0.8, 0.03), "theirs": measures(0.2, 0.3)}
    assert verdict([one], {})["Next"] == (
        "The sources disagree: it serves ours, and prefers what theirs reject. Fit a head to each "
        "source (more-ray calibrate)."
    )


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        (0.6, "and people who were never asked as source=unknown (60.0%, 57.0% to 63.0%)."),
        (0.52, "Ask others first: on people who were never asked it is not shown to beat a coin "),
    ],
)
def test_heads_for_every_source(left_out: float, words: str) -> None:
    one = model("shared + drift", shared=measures(0.6, 0.05), left_out=measures(left_out, 0.05))
    found = verdict([one], {"one head for all": apart(0.05, 0.0, 0.001)})
    assert found["Accuracy"] == (
        "shared + drift agrees with people on 65.0% of the test pairs (62.0% to 68.0%) by each "
        "source's own head, on 60.0% by the shared one. Taking the longer answer does on 55.0%."
    )
    assert "(+5.0 points) than one head for all." in found["Beside others"]
    assert found["Next"].startswith("Score people whose source is known by its head (source=NAME)")
    assert words in found["Next"]
