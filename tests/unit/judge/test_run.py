"""The judge's client against a real HTTP server that answers, fails, hangs or talks nonsense."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_endpoint import NO_COMPLETIONS, Answering, Endpoint, Reply, question_of, says

import more_ray
from more_ray.config.judge import JudgeConfig
from more_ray.errors import UserError
from more_ray.judge.cache import AnswerCache
from more_ray.judge.run import Estimate, estimate, judge, make_plan

PAIRS = 4
SOON = {"retry-after-ms": "1"}


def prefers_good(question: str) -> Reply:
    letter = "A" if question.index("good") < question.index("bad") else "B"
    return says(f"Comparison: one is good.\nMore helpful: {letter}")


def on_question(reply: Callable[[int, str], Reply]) -> Answering:
    return lambda number, request: reply(number, question_of(request))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    one = Endpoint(on_question(lambda _, question: prefers_good(question)))
    yield one
    one.close()


@pytest.fixture
def config(endpoint: Endpoint, tmp_path: Path) -> JudgeConfig:
    prompts = [[{"role": "user", "content": f"question {row}"}] for row in range(PAIRS)]
    for name in ("good", "bad"):
        columns = {"row": range(PAIRS), "prompt": prompts, "response": [name] * PAIRS}
        pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), tmp_path / name)
    return JudgeConfig(
        answers=str(tmp_path / "good"),
        against=str(tmp_path / "bad"),
        output_dir=str(tmp_path / "out"),
        cache=str(tmp_path / "cache"),
        base_url=endpoint.url,
        model="m",
        api_key_env=None,
        retries=2,
        timeout=30,
    )


def run(config: JudgeConfig, **changes: Any) -> dict[str, Any]:
    config = config.changed(**changes)
    with AnswerCache(config.cache) as cache:
        return judge(config, make_plan(config, cache), cache, lambda: None)


def test_wins_are_written_and_a_rerun_asks_nothing(
    endpoint: Endpoint, config: JudgeConfig, tmp_path: Path
) -> None:
    result = run(config)
    assert (result["win"], result["pairs"], result["said_a"]) == (PAIRS, PAIRS, 0.5)
    assert (result["input_tokens"], result["output_tokens"]) == (200 * PAIRS, 20 * PAIRS)
    assert len(endpoint.questions) == len(set(endpoint.questions)) == 2 * PAIRS
    assert json.loads((tmp_path / "out" / "judge.json").read_text()) == result
    rows = pq.read_table(tmp_path / "out" / "judgements.parquet").to_pylist()
    assert [row["row"] for row in rows] == list(range(PAIRS))
    assert {(row["verdict_as_a"], row["verdict_as_b"], row["outcome"]) for row in rows} == {
        ("A", "B", "win")
    }
    # No key is needed for what is in the cache.
    assert run(config, api_key_env="NOT_SET") == result
    swapped = run(config, answers=config.against, against=config.answers)
    assert swapped["lose"] == PAIRS
    assert len(endpoint.questions) == 2 * PAIRS


def test_another_criterion_or_model_is_asked_anew(endpoint: Endpoint, config: JudgeConfig) -> None:
    run(config)
    run(config, model="other")
    run(config, criterion="harmless")
    assert len(endpoint.questions) == 3 * 2 * PAIRS


def test_unparsable_answers_are_counted_and_not_asked_again(
    endpoint: Endpoint, config: JudgeConfig
) -> None:
    endpoint.reply = on_question(
        lambda _, question: says("Both are fine." if "n 1" in question else "A")
    )
    for _ in range(2):
        result = run(config)
        assert (result["unparsable"], result["tie"], result["said_a"]) == (1, PAIRS - 1, 1)
    assert len(endpoint.questions) == 2 * PAIRS


@pytest.mark.parametrize("status", [429, 500, 503])
def test_failures_that_pass_are_tried_again(
    endpoint: Endpoint, config: JudgeConfig, status: int
) -> None:
    def reply(number: int, question: str) -> Reply:
        return (status, SOON, "{}") if number in (0, 5) else prefers_good(question)

    endpoint.reply = on_question(reply)
    assert run(config)["win"] == PAIRS
    assert len(endpoint.questions) == 2 * PAIRS + 2


@pytest.mark.parametrize(
    ("reply", "asked", "message"),
    [
        ((429, SOON, '{"error": {"message": "slow down"}}'), 3, "HTTP 429"),
        ((401, {}, '{"error": {"message": "bad key"}}'), 1, "bad key"),
        ((404, {}, '{"error": {"message": "no model m"}}'), 1, "no model m"),
        ((200, {"content-type": "text/html"}, "<html>Log in</html>"), 1, "not a chat completion"),
        ((200, {}, "{"), 1, "not a chat completion"),
        *(((200, {}, body), 1, "not a chat completion") for body in NO_COMPLETIONS),
    ],
)
def test_other_failures_end_in_one_line_and_a_rerun_goes_on(
    endpoint: Endpoint, config: JudgeConfig, reply: Reply, asked: int, message: str
) -> None:
    endpoint.reply = on_question(
        lambda number, question: prefers_good(question) if number < 3 else reply
    )
    with pytest.raises(UserError) as error:
        run(config, concurrency=1)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(endpoint.questions) == 3 + asked
    endpoint.reply = on_question(lambda _, question: prefers_good(question))
    assert run(config)["win"] == PAIRS
    assert len(endpoint.questions) == 2 * PAIRS + asked


def test_a_silent_endpoint_is_given_up(endpoint: Endpoint, config: JudgeConfig) -> None:
    silent = threading.Event()

    def reply(number: int, question: str) -> Reply:
        silent.wait(5)
        return prefers_good(question)

    endpoint.reply = on_question(reply)
    with pytest.raises(UserError, match="timed out"):
        run(config, timeout=0.2, retries=1, concurrency=1)
    silent.set()
    assert len(endpoint.questions) == 2


def test_an_endpoint_that_is_not_there(endpoint: Endpoint, config: JudgeConfig) -> None:
    with pytest.raises(UserError, match=r"Connection error.*a rerun asks for the rest"):
        run(config, base_url="http://127.0.0.1:1/v1", retries=0)


def test_a_refused_request_is_counted_and_the_others_go_on(
    endpoint: Endpoint, config: JudgeConfig
) -> None:
    too_long: Reply = (400, {}, '{"error": {"message": "too long"}}')
    endpoint.reply = on_question(
        lambda _, question: too_long if "n 2" in question else prefers_good(question)
    )
    result = run(config)
    assert (result["win"], result["unparsable"], result["refused"]) == (PAIRS - 1, 1, 2)
    endpoint.reply = on_question(lambda _, question: too_long)
    with pytest.raises(UserError, match=r"refused all requests.*too long"):
        run(config, model="other")


def test_no_key(config: JudgeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(UserError, match="the environment variable JUDGE_KEY holds no API key"):
        run(config, api_key_env="JUDGE_KEY")


def test_the_pace_holds_for_retries_too(endpoint: Endpoint, config: JudgeConfig) -> None:
    def reply(number: int, question: str) -> Reply:
        return (429, SOON, "{}") if number == 0 else prefers_good(question)

    endpoint.reply = on_question(reply)
    started = time.monotonic()
    run(config, requests_per_minute=600)  # one in 0.1 s
    assert len(endpoint.times) == 2 * PAIRS + 1
    assert endpoint.times[-1] - started > 0.1 * (2 * PAIRS)


def test_no_more_at_a_time_than_allowed(endpoint: Endpoint, config: JudgeConfig) -> None:
    def reply(_: int, question: str) -> Reply:
        time.sleep(0.1)
        return prefers_good(question)

    endpoint.reply = on_question(reply)
    run(config, concurrency=3)
    assert endpoint.most_at_once == 3


def test_the_estimate_is_of_what_is_not_answered(config: JudgeConfig) -> None:
    priced = config.changed(input_price=2.0, output_price=8.0, max_tokens=1_000)
    with AnswerCache(config.cache) as cache:
        plan = make_plan(priced, cache)
        characters = sum(len(request["messages"][0]["content"]) for request in plan.todo.values())
        one = estimate(priced, plan)
        assert one.input_tokens == round(characters / 4)
        assert one.output_tokens == 2 * PAIRS * 1_000
        assert one.cost == pytest.approx((2 * one.input_tokens + 8 * one.output_tokens) / 1e6)
        judge(priced, plan, cache, lambda: None)
        after = make_plan(priced, cache)
        assert (estimate(priced, after), after.cached) == (Estimate(0, 0, 0.0), 2 * PAIRS)


def test_a_notebook_whose_loop_is_running_can_judge(
    config: JudgeConfig, endpoint: Endpoint
) -> None:
    async def cell(**changes: Any) -> dict[str, Any] | None:
        return more_ray.judge(config, **changes)

    assert asyncio.run(cell(estimate_only=True)) is None
    assert endpoint.questions == []
    result = asyncio.run(cell())
    assert (result["win"], result["pairs"]) == (PAIRS, PAIRS)
    assert result == json.loads(Path(config.output_dir, "judge.json").read_text())
