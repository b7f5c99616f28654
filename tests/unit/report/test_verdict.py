"""The words of the verdict follow from the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from more_ray.metrics.scores import SourceScores
from more_ray.report.models import Model, RunFiles
from more_ray.report.verdict import Verdict, verdict

SURE, UNSURE = 2.0, 0.1
"""Reward differences, of which the first means a probability of 0.88."""


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


def model(name: str = "MORE", right: int = 36, **ways: Any) -> Model:
    """Right in `right` of the 40 pairs that it is sure of, a tenth of all.

    Args:
        ways: the means of `eval.json` by way to score; `own` is that of the model itself.
    """
    own = ways.pop("own", measures(0.65, 0.031))
    evaluation = {"scheme": "more", "step": 9, "sources": {"ours": own, "theirs": own}, "mean": own}
    evaluation |= {way: {"sources": {}, "mean": mean} for way, mean in ways.items()}
    size_N = np.full(400, UNSURE)
    size_N[:40] = SURE
    delta_N = np.where(np.arange(400) < right, size_N, -size_N)
    scores = SourceScores(*(np.arange(400), delta_N, np.zeros(400)), *[np.ones(400)] * 2)
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
    found = verdict([model(), model("MultiTask", own=measures(0.6, 0.08, 0.04))], {
        "MultiTask": apart(0.05, -0.049, 0.001, 0.001)
    })  # fmt: skip
    assert found == Verdict(
        "MORE is the most accurate of 2 models: it agrees with people on 65.0% of the test pairs "
        "(62.0% to 68.0%); taking the longer answer does on 55.0%. Its probabilities can be "
        "trusted as far as these pairs tell: the calibration error (ECE) is 0.031, in truth at "
        "most 0.051; a perfect model would show 0.030 by chance. Where it is surest (a tenth of "
        "the pairs) it says 88% and is right 90% of the time (77% to 96%). Beyond chance it is "
        "more accurate (+5.0 points, +4.0 to +6.0) and better calibrated (ECE -0.049, -0.059 to "
        "-0.039) than MultiTask.",
        "it can be used as it is (more-ray serve).",
    )


def test_a_tie() -> None:
    found = verdict([model(), model("MultiTask")], {"MultiTask": apart(0.002, -0.004)})
    assert found.findings.endswith(
        "These test pairs do not tell it apart from MultiTask (accuracy +0.2 points, -0.8 to +1.2; "
        "ECE -0.004, -0.014 to +0.006)."
    )
    assert "Beyond chance" not in found.findings
    assert found.next.startswith("nothing here favours it over MultiTask;")


def test_more_accurate_but_worse_calibrated() -> None:
    own = measures(0.7, 0.09, 0.06)
    models = [model(own=own, right=20), model("MultiTask")]
    found = verdict(models, {"MultiTask": apart(0.05, 0.06, 0.001, 0.001)})
    assert (
        "Its probabilities cannot be trusted as they are: the calibration error (ECE) is 0.090, in "
        "truth 0.060 to 0.110; a perfect model would show 0.030 by chance. Where it is surest (a "
        "tenth of the pairs) it says 88% and is right 50% of the time (35% to 65%)."
    ) in found.findings
    assert (
        "Beyond chance it is more accurate (+5.0 points, +4.0 to +6.0) but worse calibrated (ECE "
        "+0.060, +0.050 to +0.070) than MultiTask."
    ) in found.findings
    assert found.next == (
        "calibrate it before its probabilities are used (more-ray calibrate); with a temperature "
        "for each source alone, which changes no ranking, the ECE is 0.032."
    )


def test_another_is_better() -> None:
    models = [model(), model("MultiTask", own=measures(0.7, 0.03)), model("Averaging")]
    found = verdict(
        models, {"MultiTask": apart(-0.05, 0.001, 0.001), "Averaging": apart(0.001, 0.001)}
    )
    assert found.findings.startswith("MORE agrees with people on 65.0%")
    assert "MultiTask agrees on the most, 70.0%." in found.findings
    assert "Beyond chance it is less accurate (-5.0 points, -6.0 to -4.0) than MultiTask." in (
        found.findings
    )
    assert found.findings.endswith("do not tell it apart from Averaging (accuracy +0.1 points, "
        "-0.9 to +1.1; ECE +0.001, -0.009 to +0.011).")  # fmt: skip
    assert found.next == "use MultiTask instead."


def test_a_p_value_counts_for_less_among_many() -> None:
    """0.02 is below 0.05 / 2 of one other model, not below 0.05 / 6 of three."""
    found = apart(0.05, 0.0, 0.02)
    assert "Beyond chance it is more accurate" in verdict([model()], {"raw": found}).findings
    many = verdict([model()], dict.fromkeys("abc", found)).findings
    assert many.endswith("These test pairs do not tell it apart from a, b and c.")


def test_a_single_model() -> None:
    found = verdict([model()], {})
    assert found.findings.startswith("MORE agrees with people on 65.0% of the test pairs")
    assert "apart" not in found.findings
    assert "compare=[proportional]" in found.next


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (measures(0.52, 0.03), "do not use it, for it is not shown to beat a coin"),
        (measures(0.6, 0.03, longer=0.6), "it is not shown to beat taking the longer answer"),
    ],
)
def test_one_that_has_learnt_too_little(own: dict[str, Any], words: str) -> None:
    assert verdict([model(own=own)], {}).next.startswith(words)


def test_too_few_pairs_to_trust_it() -> None:
    own = measures(0.65, 0.09)
    assert (
        "Whether its probabilities can be trusted takes more test pairs to tell: the calibration "
        "error (ECE) is 0.090, in truth at most 0.110;"
    ) in verdict([model(own=own)], {}).findings


def test_a_source_that_it_does_not_serve() -> None:
    one = model()
    one.evaluation["sources"]["theirs"] = measures(0.5, 0.03)
    assert verdict([one], {}).next.startswith("on theirs it is not shown to beat a coin;")


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        (0.6, "and people who were never asked as source=unknown (60.0%, 57.0% to 63.0%)."),
        (0.52, "ask others first, for on people who were never asked it is not shown to beat a "),
    ],
)
def test_heads_for_every_source(left_out: float, words: str) -> None:
    one = model("shared + drift", shared=measures(0.6, 0.05), left_out=measures(left_out, 0.05))
    found = verdict([one], {"one head for all": apart(0.05, 0.0, 0.001)})
    assert found.findings.startswith(
        "shared + drift agrees with people on 65.0% of the test pairs (62.0% to 68.0%) by each "
        "source's own head, on 60.0% by the shared one; taking the longer answer does on 55.0%."
    )
    assert "(+5.0 points, +4.0 to +6.0) than one head for all." in found.findings
    assert found.next.startswith("score people whose source is known by its head (source=NAME)")
    assert words in found.next
