"""The words of the verdict follow from the numbers."""

from __future__ import annotations

from dataclasses import replace
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


def apart(
    accuracy: float, ece: float, p_accuracy: float = 0.5, p_ece: float = 0.5, **nll: float
) -> Any:
    """What the first model's means differ by.

    Args:
        nll: `nll` and `p_nll`.
    """
    measured = (
        ("accuracy", accuracy, p_accuracy),
        ("ece", ece, p_ece),
        ("nll", nll.get("nll", 0.0), nll.get("p_nll", 0.5)),
    )
    return {
        key: {"difference": value, "ci": [value - 0.01, value + 0.01], "p": p}
        for key, value, p in measured
    }


def test_a_clear_winner() -> None:
    multitask = model("MultiTask", own=measures(0.6, 0.08, 0.04))
    found = verdict([model(), multitask], {"MultiTask": apart(0.05, -0.049, 0.001, 0.001)})
    assert found == {
        "Accuracy": "MORE agrees with people on 65.0% of the test pairs (62.0% to 68.0%). That is "
        "better than guessing and than taking the longer answer (55.0%). It is lowest on ours: "
        "65.0% (62.0% to 68.0%).",
        "Trust": "Its probabilities hold as far as these pairs tell. Where it counts most, it "
        "says 88% and is right 90% of the time (83% to 94%; all sources together). Calibration "
        "error (ECE: how far what it says is from how often it is right, on average) 0.031, "
        "probably at most 0.051; a perfect model would show 0.030 by chance.",
        "Beside others": "Shown: it is more accurate (+5.0 points) and better calibrated (ECE "
        "-0.049) than MultiTask.",
        "Next": "It can be used as it is (more-ray serve).",
    }


def test_a_tie() -> None:
    found = verdict([model(), model("MultiTask")], {"MultiTask": apart(0.002, -0.004)})
    assert found["Beside others"] == (
        "These test pairs do not tell it apart from MultiTask (accuracy +0.2 points, -0.8 to +1.2; "
        "ECE -0.004, -0.014 to +0.006; NLL +0.000, -0.010 to +0.010)."
    )
    assert found["Next"].startswith("It is not shown to differ from MultiTask:")


def test_more_accurate_but_worse_calibrated() -> None:
    models = [model(own=measures(0.7, 0.09, 0.06), right=50), model("MultiTask")]
    found = verdict(models, {"MultiTask": apart(0.05, 0.06, 0.001, 0.001)})
    assert found["Trust"] == (
        "Its probabilities cannot be trusted as they are. Where it counts most, it is too sure: it "
        "says 88% and is right 50% of the time (40% to 60%; all sources together). Calibration "
        "error (ECE: how far what it says is from how often it is right, on average) 0.090, "
        "probably between 0.060 and 0.110; a perfect model would show 0.030 by chance."
    )
    assert found["Beside others"] == (
        "Shown: it is more accurate (+5.0 points) and worse calibrated (ECE +0.060) than MultiTask."
    )
    assert found["Next"] == (
        "Calibrate it before its probabilities are used (more-ray calibrate); a temperature for "
        "each source, which changes no ranking, brings the ECE to 0.032."
    )


def test_another_is_better() -> None:
    models = [model(), model("MultiTask", own=measures(0.7, 0.03)), model("Averaging")]
    others = {"MultiTask": apart(-0.05, 0.001, 0.001), "Averaging": apart(0.001, 0.001)}
    found = verdict(models, others)
    assert found["Beside others"] == (
        "Shown: it is less accurate (-5.0 points) than MultiTask. These test pairs do not tell it "
        "apart from Averaging (accuracy +0.1 points, -0.9 to +1.1; ECE +0.001, -0.009 to +0.011; "
        "NLL +0.000, -0.010 to +0.010)."
    )
    assert found["Next"] == "Use MultiTask instead."


def test_another_is_more_accurate_but_worse_calibrated() -> None:
    models = [model(), model("MultiTask", own=measures(0.7, 0.09))]
    found = verdict(models, {"MultiTask": apart(-0.05, -0.06, 0.001, 0.001)})
    assert found["Beside others"] == (
        "Shown: it is less accurate (-5.0 points) and better calibrated (ECE -0.060) than "
        "MultiTask."
    )
    assert found["Next"] == (
        "Use MultiTask where only the order of answers counts, MORE for probabilities."
    )


def test_a_p_value_counts_for_less_among_many() -> None:
    """0.01 is below 0.05 / 3 of one other model, not below 0.05 / 9 of three."""
    found = apart(0.05, 0.0, 0.01)
    assert "Shown: it is more accurate" in verdict([model()], {"raw": found})["Beside others"]
    many = verdict([model()], dict.fromkeys("abc", found))
    assert many["Beside others"] == (
        "Likely, but not shown at the threshold for 9 tests (p below 0.0056): it is more accurate "
        "than a, b and c."
    )
    assert many["Next"].startswith("It is not shown to differ from a, b and c:")


def test_a_lower_loss_tells_apart_where_calibration_alone_does_not() -> None:
    found = apart(0.0, 0.03, 0.5, 0.001, nll=-0.05, p_nll=0.001)
    words = verdict([model(), model("MultiTask")], {"MultiTask": found})
    assert words["Beside others"] == (
        "Shown: it is worse calibrated (ECE +0.030) and better by the loss (NLL -0.050) than "
        "MultiTask."
    )
    assert words["Next"] == (
        "It can be used as it is (more-ray serve). Where the probabilities themselves count, "
        "calibrate on more pairs first: those of MultiTask are better calibrated."
    )


def test_another_whose_probabilities_alone_are_better() -> None:
    """The choice is the reader's: take the other, or calibrate this one."""
    models = [model(own=measures(0.65, 0.09, 0.06)), model("MultiTask")]
    assert verdict(models, {"MultiTask": apart(-0.002, 0.06, 0.5, 0.001)})["Next"] == (
        "Use MultiTask instead; which of the two is more accurate is not shown. Or keep MORE: "
        "calibrate it before its probabilities are used (more-ray calibrate); a temperature for "
        "each source, which changes no ranking, brings the ECE to 0.032."
    )


def test_a_single_model() -> None:
    found = verdict([model()], {})
    assert list(found) == ["Accuracy", "Trust", "Next"]
    assert found["Accuracy"].startswith("MORE agrees with people on 65.0% of the test pairs")
    assert "compare=[proportional]" in found["Next"]
    mixture = verdict([model("MultiTask")], {})
    assert mixture["Next"] == "It can be used as it is (more-ray serve)."


@pytest.mark.parametrize(
    ("own", "standing", "words"),
    [
        (
            measures(0.52, 0.03),
            "That is not shown to be better than guessing; taking the longer answer agrees on",
            "Do not use it, for it is not shown to beat guessing. Train on more pairs, look for "
            "wrong labels, or start from a larger model. It was trained for 9 steps at a learning "
            "rate of 5e-05; more (train.epochs), or a higher rate (optimizer.lr), may be all it "
            "lacks.",
        ),
        (
            measures(0.6, 0.03, longer=0.6),
            "but not shown to be better than taking the longer answer (60.0%).",
            "It is not shown to beat taking the longer answer.",
        ),
    ],
)
def test_one_that_has_learnt_too_little(own: dict[str, Any], standing: str, words: str) -> None:
    one = model(own=own)
    trained = replace(one.first, config="optimizer: {lr: 5.0e-5}")
    found = verdict([replace(one, runs=[trained])], {})
    assert standing in found["Accuracy"]
    assert found["Next"].startswith(words)


def test_too_few_pairs_to_trust_it() -> None:
    found = verdict([model("MultiTask", own=measures(0.65, 0.09))], {})
    assert found["Trust"].startswith(
        "Whether its probabilities can be trusted takes more test pairs to tell. Where"
    )
    assert "0.090, probably at most 0.110;" in found["Trust"]
    assert found["Next"].endswith(
        "Where the probabilities themselves count, test on more pairs first."
    )


def test_a_source_that_it_does_not_serve() -> None:
    one = model()
    one.evaluation["sources"]["theirs"] = measures(0.5, 0.03)
    found = verdict([one], {})
    assert "It is lowest on theirs: 50.0% (47.0% to 53.0%)." in found["Accuracy"]
    assert found["Watch"] == "On theirs it is not shown to beat guessing."
    assert found["Next"].endswith("on theirs it is not shown to beat guessing.")


def test_what_its_data_makes_doubtful() -> None:
    """Leaks that were left out do not count, nor do a few long texts."""
    lengths = {"texts": 100, "cut": 30}
    counts = {
        "ours": {"leaked": 3, "lengths": lengths},
        "theirs": {"leaked": 4, "lengths": {**lengths, "cut": 3}},
    }
    found = {}
    for on_leak in ("warn", "drop"):
        one = model()
        config = f"data: {{on_leak: {on_leak}}}"
        run = replace(one.first, environment={"data": counts}, config=config)
        found[on_leak] = verdict([replace(one, runs=[run])], {})["Watch"]
    cut = "30% of the texts of ours lost their beginning (data.max_length)."
    assert found["warn"].startswith("7 training pairs have the prompt of a test pair,")
    assert found["warn"].endswith(cut)
    assert found["drop"] == cut


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
        (
            0.52,
            "Ask others first: on people who were never asked it is not shown to beat guessing",
        ),
    ],
)
def test_heads_for_every_source(left_out: float, words: str) -> None:
    one = model("shared + drift", shared=measures(0.6, 0.05), left_out=measures(left_out, 0.05))
    found = verdict([one], {"one head for all": apart(0.05, 0.0, 0.001)})
    assert found["Accuracy"] == (
        "shared + drift agrees with people on 65.0% of the test pairs (62.0% to 68.0%) by each "
        "source's own head, on 60.0% by the shared one. That is better than guessing and than "
        "taking the longer answer (55.0%). It is lowest on ours: 65.0% (62.0% to 68.0%)."
    )
    assert "(+5.0 points) than one head for all." in found["Beside others"]
    assert found["Next"].startswith("Score people whose source is known by its head (source=NAME)")
    assert words in found["Next"]


def test_the_best_of_those_that_are_better_is_named() -> None:
    models = [model(), model("MultiTask"), model("Averaging")]
    others = {"MultiTask": apart(-0.05, 0.0, 0.001), "Averaging": apart(-0.10, 0.0, 0.001)}
    assert verdict(models, others)["Next"] == "Use Averaging instead."


def test_one_that_is_more_accurate_takes_its_place_also_where_this_one_is_badly_calibrated() -> (
    None
):
    models = [model(own=measures(0.65, 0.09, 0.06)), model("MultiTask")]
    found = verdict(models, {"MultiTask": apart(-0.05, 0.0, 0.001)})
    assert found["Next"] == "Use MultiTask instead."


def test_a_temperature_that_does_not_help_is_not_advised() -> None:
    own = {**measures(0.7, 0.09, 0.06), "ece_at_temperature": 0.1}
    assert "temperature" not in verdict([model(own=own)], {})["Next"]


def test_a_source_that_may_be_a_coin_is_not_opposed() -> None:
    found = model()
    found.evaluation["sources"]["theirs"] = {**measures(0.48, 0.03), "accuracy_ci": [0.42, 0.54]}
    assert "disagree" not in verdict([found], {})["Next"]
