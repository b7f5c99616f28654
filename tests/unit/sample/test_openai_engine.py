"""Answers from endpoints that give what they are asked for, less, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from own_endpoint import NO_COMPLETIONS, TOKENS, Endpoint, Reply, question_of, says

from more_ray.config.sample import PolicyConfig, SamplingConfig
from more_ray.data.messages import Message
from more_ray.errors import UserError
from more_ray.sample.engines.protocol import Engine, Sample
from more_ray.sample.engines.registry import open_engine, record

SAMPLES = 3
PROMPTS = [[Message(role="user", content=f"question {row}")] for row in range(4)]


def answer(request: dict[str, Any], number: int) -> str:
    return f"{question_of(request)}, seed {request['seed'] + number}"


def all_at_once(_: int, request: dict[str, Any]) -> Reply:
    texts = [answer(request, number) for number in range(request.get("n", 1))]
    return says(*texts, logprobs=[-1.0, -0.5] if "logprobs" in request else None)


def one_at_a_time(_: int, request: dict[str, Any]) -> Reply:
    return says(answer(request, 0))


def refusing(*keys: str, status: int = 400) -> Any:
    def reply(number: int, request: dict[str, Any]) -> Reply:
        if refused := [key for key in keys if key in request]:
            body = json.dumps({"error": {"message": f"no {refused[0]} here"}})
            return status, {"retry-after-ms": "1"}, body
        return all_at_once(number, request)

    return reply


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    one = Endpoint(all_at_once)
    yield one
    one.close()


def make_engine(*endpoints: Endpoint, stop: tuple[str, ...] = (), **changes: Any) -> Engine:
    urls = [endpoint.url for endpoint in endpoints]
    values = {"engine": "openai", "base_url": urls, "name": "m", "retries": 1, **changes}
    sampling = SamplingConfig(samples=SAMPLES, max_new_tokens=5, top_p=0.9, stop=list(stop))
    return open_engine(PolicyConfig.model_validate(values), sampling, gpus=0)


def test_a_request_says_all_that_the_settings_say(endpoint: Endpoint) -> None:
    engine = make_engine(endpoint, stop=("\n\nHuman:",))
    (samples,) = engine.sample(PROMPTS[:1], [7])
    (request,) = endpoint.requests
    seed = request.pop("seed")
    assert 0 <= seed < 2**31
    assert request == {
        "model": "m",
        "messages": PROMPTS[0],
        "n": SAMPLES,
        "max_tokens": 5,
        "temperature": 1.0,
        "top_p": 0.9,
        "stop": ["\n\nHuman:"],
        "logprobs": True,
    }
    assert samples == [
        Sample(f"question 0, seed {seed + number}", 2, True, None) for number in range(SAMPLES)
    ]
    assert [sample.log_likelihood for sample in samples] == [-1.5] * SAMPLES
    assert record(PolicyConfig(engine="openai", base_url=endpoint.url, name="m"), 0) == {
        "engine": "openai",
        "version": None,
        "model": "m",
        "dtype": None,
        "reproducible": "no",
    }


def test_the_variables_of_the_chat_template_go_with_a_request(endpoint: Endpoint) -> None:
    variables = {"enable_thinking": False}
    make_engine(endpoint, chat_template_kwargs=variables).sample(PROMPTS[:1], [0])
    assert endpoint.requests[0]["chat_template_kwargs"] == variables


@pytest.mark.parametrize(
    ("reply", "logprobs"),
    [
        (one_at_a_time, False),
        (refusing("n"), True),
        (refusing("n", status=500), True),
        (refusing("n", "logprobs"), False),
        (refusing("logprobs"), False),
    ],
)
def test_an_endpoint_that_gives_less_is_asked_again(
    endpoint: Endpoint, reply: Any, logprobs: bool
) -> None:
    """All answers are there, each with a seed of its own, the same in a second run."""
    endpoint.reply = reply
    sampled = make_engine(endpoint).sample(PROMPTS, range(4))
    for row, samples in enumerate(sampled):
        responses = [sample.response for sample in samples]
        assert len(set(responses)) == SAMPLES
        assert all(response.startswith(f"question {row}, ") for response in responses)
        assert all(sample.tokens > 0 and sample.finished for sample in samples)
        assert {sample.log_likelihood for sample in samples} == {-1.5 if logprobs else None}
    asked = len(endpoint.requests)
    assert make_engine(endpoint, concurrency=1).sample(PROMPTS, range(4)) == sampled
    # What is refused is asked for once, or, with status 500, once more.
    assert len(endpoint.requests) - asked <= 4 * SAMPLES + 2


def test_without_log_probabilities_tokens_are_shared_by_length(endpoint: Endpoint) -> None:
    endpoint.reply = lambda _, request: says("", "four", "four more")
    (samples,) = make_engine(endpoint).sample(PROMPTS[:1], [0])
    assert sum(sample.tokens for sample in samples) == pytest.approx(3 * TOKENS, abs=1)
    assert samples[0].tokens < samples[1].tokens < samples[2].tokens
    assert [sample.log_likelihood for sample in samples] == [None] * SAMPLES
    assert samples[0].response == ""


@pytest.mark.parametrize(
    ("text", "reason", "response", "finished"),
    [
        (" Yes. ", "stop", "Yes.", True),
        ("Yes. But", "length", "Yes. But", False),
        ("Yes.\n\nHuman: and", "length", "Yes.", True),  # the endpoint keeps what it stopped at
        ("", "stop", "", True),
        ("", "content_filter", "", False),
    ],
)
def test_how_an_answer_ends(
    endpoint: Endpoint, text: str, reason: str, response: str, finished: bool
) -> None:
    endpoint.reply = lambda _, request: says(*[text] * SAMPLES, finish_reason=reason)
    (samples,) = make_engine(endpoint, stop=("\n\nHuman:",)).sample(PROMPTS[:1], [0])
    assert [(one.response, one.finished) for one in samples] == [(response, finished)] * SAMPLES


def test_a_refused_prompt_is_named(endpoint: Endpoint) -> None:
    endpoint.reply = lambda _, request: (400, {}, '{"error": {"message": "too long"}}')
    with pytest.raises(UserError, match=r"^prompt 5 was refused by http.*HTTP 400.*too long$"):
        make_engine(endpoint).sample(PROMPTS[:1], [5])


def test_a_failure_is_tried_again_and_then_explained(endpoint: Endpoint) -> None:
    def reply(number: int, request: dict[str, Any]) -> Reply:
        busy = (503, {"retry-after-ms": "1"}, "busy")
        return busy if number == 0 else all_at_once(number, request)

    endpoint.reply = reply
    assert len(make_engine(endpoint).sample(PROMPTS, range(4))) == 4
    endpoint.reply = lambda _, request: (503, {"retry-after-ms": "1"}, "busy")
    with pytest.raises(UserError, match=r"HTTP 503.*a rerun asks for the rest"):
        make_engine(endpoint).sample(PROMPTS[:1], [0])


@pytest.mark.parametrize("body", NO_COMPLETIONS)
def test_what_is_no_completion_is_explained(endpoint: Endpoint, body: str) -> None:
    endpoint.reply = lambda _, request: (200, {}, body)
    with pytest.raises(UserError, match="no chat completion"):
        make_engine(endpoint).sample(PROMPTS[:1], [0])


def test_tokens_need_not_be_counted(endpoint: Endpoint) -> None:
    body = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}], "usage": {}}
    endpoint.reply = lambda _, request: (200, {}, json.dumps(body))
    (samples,) = make_engine(endpoint).sample(PROMPTS[:1], [0])
    assert samples == [Sample("Yes.", 0, True, None)] * SAMPLES


def test_endpoints_take_turns_and_their_number_of_requests_is_kept(endpoint: Endpoint) -> None:
    """From several threads at a time, as blocks come."""
    other = Endpoint(all_at_once)
    try:
        engine = make_engine(endpoint, other, concurrency=2)
        with ThreadPoolExecutor(4) as threads:
            blocks = list(threads.map(lambda row: engine.sample([PROMPTS[row]], [row]), range(4)))
        for row, ((first, *_),) in enumerate(blocks):
            assert first.response.startswith(f"question {row}, ")
        assert len(endpoint.requests) == len(other.requests) == 2
        assert max(endpoint.most_at_once, other.most_at_once) <= 2
    finally:
        other.close()


def test_the_next_endpoint_is_asked_where_one_fails(endpoint: Endpoint) -> None:
    other = Endpoint(lambda _, request: (404, {}, '{"error": {"message": "no model m"}}'))
    expected = make_engine(endpoint).sample(PROMPTS, range(4))
    try:
        assert make_engine(other, endpoint).sample(PROMPTS, range(4)) == expected
        assert len(other.requests) == 2
        with pytest.raises(UserError, match="no model m"):
            make_engine(other, other).sample(PROMPTS[:1], [0])
        assert len(other.requests) == 4
    finally:
        other.close()
    # Nobody listens there any more.
    assert make_engine(other, endpoint).sample(PROMPTS, range(4)) == expected


def test_no_key(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLICY_KEY", raising=False)
    with pytest.raises(UserError, match="POLICY_KEY holds no API key"):
        make_engine(endpoint, api_key_env="POLICY_KEY")
    monkeypatch.setenv("POLICY_KEY", "secret")
    make_engine(endpoint, api_key_env="POLICY_KEY").sample(PROMPTS[:1], [0])
    config = PolicyConfig(
        engine="openai", base_url=endpoint.url, name="m", api_key_env="POLICY_KEY"
    )
    assert "secret" not in config.model_dump_json()
