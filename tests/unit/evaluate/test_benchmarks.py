"""From questions to scores, the file of scores, and the measures that it gives again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support import write_reward_model

from more_ray.config import DataConfig, EvaluationConfig, ModelConfig
from more_ray.config.reading import settings
from more_ray.data.benchmarks import Benchmark, Question
from more_ray.data.messages import Message
from more_ray.data.rejects import Reason, Reject
from more_ray.errors import DataError, UserError
from more_ray.evaluate.benchmarks import (
    AnswerScorer,
    _rows,
    encode_answers,
    scores_table,
    summarise_table,
)
from more_ray.metrics.benchmarks import Scored, summarise_benchmark
from more_ray.model.loading import load_tokenizer
from more_ray.model.scorer import Scorer

LENIENT = DataConfig(max_reject_share=1)
ANSWERS = ["With water.", "No.", "At the roots, in the morning.", "Every day, or less often."]


def question(number: int, subset: str = "Focus", name: str = "", group: str = "") -> Question:
    prompt = (Message(role="user", content=f"How are {number} plants watered?"),)
    name = name or str(number)
    return Question(name, group or name, prompt, (ANSWERS[0],), tuple(ANSWERS[1:]), subset)


def benchmark(*questions: Question, rejects: int = 0) -> Benchmark:
    rejected = [Reject(Reason.EMPTY, "file:1", "no right answer")] * rejects
    return Benchmark("mine", "RewardBench 2", "best_of_n", list(questions), rejected)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    folder = tmp_path_factory.mktemp("model")
    write_reward_model(folder)
    return ModelConfig(path=str(folder))


@pytest.mark.parametrize("batch_format", ["packed", "padded"])
@pytest.mark.parametrize("limit", [8_192, 16])
def test_each_answer_gets_the_score_that_it_gets_alone(
    model: ModelConfig, batch_format: str, limit: int
) -> None:
    """Also where the answers to a question are more than a batch holds."""
    config = model.changed(batch_format=batch_format)
    one = benchmark(question(1), question(2))
    encoded = encode_answers(one, load_tokenizer(model, 512), LENIENT)
    rows = pa.table(_rows(encoded.answers, limit))
    assert (len(rows) > 2) == (limit == 16)
    scored = AnswerScorer(config, 512, 2, "cpu")(rows).to_pylist()
    found = {
        (row["question"], row["first"] + place): score
        for row in scored
        for place, score in enumerate(row["scores"])
    }
    scorer = Scorer(model)
    for number, asked in enumerate(one.questions):
        for place, answer in enumerate(asked.answers):
            (alone,) = scorer.score(list(asked.prompt), [answer])
            assert found.pop((number, place)) == pytest.approx(alone, abs=1e-5)
    assert not found


def test_answers_that_lose_their_beginning_are_counted() -> None:
    tokenizer = load_tokenizer(ModelConfig(), 512)
    whole = encode_answers(benchmark(question(1)), tokenizer, LENIENT)
    lengths = sorted(len(tokens) for tokens in whole.answers[0])
    assert whole.cut == 0
    cut = encode_answers(benchmark(question(1)), tokenizer, DataConfig(max_length=lengths[1]))
    assert cut.cut == sum(length > lengths[1] for length in lengths) >= 1
    for short, long in zip(cut.answers[0], whole.answers[0], strict=True):
        assert len(short) == min(len(long), lengths[1])
        assert short[-3:] == long[-3:]


def test_what_the_chat_template_refuses_is_left_out_with_its_other_half() -> None:
    tokenizer = load_tokenizer(ModelConfig(), 512)
    tokenizer.chat_template = (
        "{% if '2 plants' in messages[0].content %}{{ raise_exception('no twos') }}{% endif %}"
        + tokenizer.chat_template
    )
    ties = [question(1, "Ties", "tied:5", "5"), question(2, "Ties", "ref:5", "5")]
    encoded = encode_answers(benchmark(question(3), *ties), tokenizer, LENIENT)
    assert [one.id for one in encoded.questions] == ["3"]
    assert len(encoded.answers) == 1
    assert [reject.reason for reject in encoded.rejects] == [Reason.TEMPLATE, Reason.MISSING]


def test_too_many_rejects_are_an_error() -> None:
    tokenizer = load_tokenizer(ModelConfig(), 512)
    half = benchmark(question(1), rejects=1)
    encode_answers(half, tokenizer, DataConfig(max_reject_share=0.5))
    with pytest.raises(DataError, match=r"^benchmark mine: 50% of its records rejected \(1 empty"):
        encode_answers(half, tokenizer, DataConfig(max_reject_share=0.4))
    with pytest.raises(DataError, match=r"^benchmark mine: no usable record; 1 empty field$"):
        encode_answers(benchmark(rejects=1), tokenizer, LENIENT)


def test_the_file_of_scores_gives_the_measures_again() -> None:
    ties = [question(7, "Ties", "tied:1", "1"), question(8, "Ties", "ref:1", "1")]
    questions = [*(question(number) for number in range(6)), *ties]
    scores = np.random.default_rng(0).normal(size=(len(questions), 4)).astype(np.float32)
    table = scores_table(benchmark(*questions), questions, list(scores))
    assert len(table) == 32
    assert table.slice(5, 1).to_pylist() == [
        {
            **{"benchmark": "mine", "kind": "best_of_n", "question": 1, "id": "1", "prompt": "1"},
            **{"subset": "Focus", "answer": 1, "right": False, "characters": len(ANSWERS[1])},
            "score": scores[1, 1],
        }
    ]
    expected, lengths = (
        [
            Scored(one.id, one.group, one.subset, row[:1].astype(float), row[1:].astype(float))
            for one, row in zip(questions, values, strict=True)
        ]
        for values in (scores, np.tile([len(answer) for answer in ANSWERS], (8, 1)))
    )
    assert summarise_table(table, 0, 10, 100) == summarise_benchmark(
        "best_of_n", expected, lengths, 0, 10, 100
    )


def test_benchmarks_alone_or_with_pairs() -> None:
    model = {"path": "somewhere"}

    def config(**values: object) -> EvaluationConfig:
        return settings(EvaluationConfig, {"model": model}, values)

    assert config(benchmark="a.jsonl").benchmark == ["a.jsonl"]
    assert config().scores_pairs
    assert not config(benchmark=["a.jsonl", "b.jsonl"]).scores_pairs
    assert not config(benchmark="a.jsonl", **{"data.max_length": 64}).scores_pairs
    for given in ({"root": "folder"}, {"sources": ["a.jsonl"]}, {"simulator": {"sources": 2}}):
        assert config(benchmark="a.jsonl", data=given).scores_pairs
    with pytest.raises(UserError, match=r"^against: compares test pairs; give data\.root or"):
        config(benchmark="a.jsonl", against="folder")
    with pytest.raises(UserError, match=r"^benchmark: got 3, allowed: list\[str\]$"):
        config(benchmark=3)
