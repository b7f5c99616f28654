from __future__ import annotations

from typing import Any

import pytest
from support import write_reward_model

from more_ray.config import ModelConfig
from more_ray.device import SCORING_TOKENS
from more_ray.errors import UserError
from more_ray.model.scorer import Answers, Scorer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    write_reward_model(folder)
    return str(folder)


def test_a_request_counts_with_what_its_model_computes(model: str) -> None:
    """Packed, a shared beginning counts once; padded, each answer is as long as the longest."""
    answers = Answers([5] * 100 + own for own in ([6], [7, 8], [9] * 50))
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


QUESTION = "How are plants watered where it never rains, and what if the well is dry as well?"
ANSWERS = ["With water.", "No.", "At the roots, in the morning."]


def test_a_prompt_that_comes_again_is_not_computed_again(model: str) -> None:
    scorer = Scorer(ModelConfig(path=model), prompt_cache_mib=1)
    expected = Scorer(ModelConfig(path=model)).score(QUESTION, ANSWERS)
    assert [scorer.score(QUESTION, [ANSWERS[0]])[0]] == pytest.approx(expected[:1], abs=1e-5)
    prompt = scorer.work.prompts_computed
    assert prompt >= len(QUESTION.split())
    assert scorer.score(QUESTION, ANSWERS[1:]) == pytest.approx(expected[1:], abs=1e-5)
    assert scorer.work[1:] == (0, prompt)

    text = f"Human: {QUESTION} Assistant: "
    first, again = (
        scorer.texts([text + answer for answer in answers], [text] * len(answers))
        for answers in (ANSWERS[:1], ANSWERS[1:])
    )
    assert first[0].prompt_tokens() == again[0].prompt_tokens()
    assert len(first[0].prompt_tokens()) >= len(QUESTION.split())


def test_requests_to_one_prompt_are_computed_together_and_answered_in_order(model: str) -> None:
    scorer = Scorer(ModelConfig(path=model))
    ask = [
        scorer.answers(question, [answer])
        for answer in ANSWERS
        for question in (QUESTION, "What is rain?")
    ]
    alone = [scorer.scores([one])[0] for one in ask]
    together = scorer.scores(ask)
    assert together == [pytest.approx(score, abs=1e-5) for score in alone]
    assert scorer.work.computed < sum(map(scorer.tokens, ask))


def test_a_text_that_lost_its_beginning_has_no_prompt_to_keep(model: str) -> None:
    scorer = Scorer(ModelConfig(path=model), max_length=40, prompt_cache_mib=1)
    assert not scorer.answers(QUESTION * 3, ["Yes."]).prompt_tokens()
    padded = Scorer(ModelConfig(path=model, batch_format="padded"), prompt_cache_mib=1)
    assert not padded.answers(QUESTION, ["Yes."]).prompt_tokens()
    assert padded.prompt_cache.limit == 0
