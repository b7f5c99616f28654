from __future__ import annotations

from typing import Any

import pytest
from support import write_reward_model

from more_ray.config import ModelConfig
from more_ray.device import SCORING_TOKENS
from more_ray.errors import UserError
from more_ray.model.scorer import Scorer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    write_reward_model(folder)
    return str(folder)


def test_a_request_counts_with_what_its_model_computes(model: str) -> None:
    """Packed, a shared beginning counts once; padded, each answer is as long as the longest."""
    answers = [[5] * 100 + own for own in ([6], [7, 8], [9] * 50)]
    packed = Scorer(ModelConfig(path=model))
    padded = Scorer(ModelConfig(path=model, batch_format="padded"))
    assert packed.tokens(answers) == 100 + 1 + 2 + 50
    assert padded.tokens(answers) == 3 * 150
    assert packed.scores([answers])[0] == pytest.approx(padded.scores([answers])[0], abs=1e-5)


def test_answers_are_scored_in_any_number(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(ModelConfig(path=model))
    answers = ["With water.", "No.", "At the roots, in the morning."]
    scores = scorer.score("How are plants watered?", answers)
    alone = [
        scorer.score([{"role": "user", "content": "How are plants watered?"}], [answer])
        for answer in answers
    ]
    assert scores == pytest.approx([score for [score] in alone], abs=1e-5)
    monkeypatch.setitem(SCORING_TOKENS, "cpu", 16)  # a forward pass for each answer
    assert scorer.score("How are plants watered?", answers) == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize(
    ("prompt", "answers", "message"),
    [
        ("", ["a"], "empty field: prompt"),
        ([{"role": "assistant", "content": "x"}], ["a"], "prompt does not end with a user turn"),
        ("x", "a", "answers: got 'a', allowed: a list of texts"),
        ("x", [], "answers: got .., allowed: a list of texts"),
        ("x", [3], "wrong type: response must be text"),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    model: str, prompt: Any, answers: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        Scorer(ModelConfig(path=model)).score(prompt, answers)
    assert "\n" not in str(error.value)
