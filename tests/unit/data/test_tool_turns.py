"""Turns of tools and parts of content, up to the chat template."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest

from more_ray.config import ModelConfig
from more_ray.data.formatting import render
from more_ray.data.messages import to_prompt
from more_ray.data.rejects import InvalidRecord, Reason
from more_ray.model.tokenizer import training_tokenizer

CALL: dict[str, Any] = {"type": "function", "function": {"name": "fruits", "arguments": "{}"}}
ASK = {"role": "user", "content": "Name a fruit."}


def reason(prompt: Any, tools: bool = True) -> Reason:
    with pytest.raises(InvalidRecord) as error:
        to_prompt(prompt, tools=tools)
    return error.value.reason


def test_tool_turns_stay_as_they_are() -> None:
    prompt = [
        {**ASK, "name": "ann", "tool_calls": None},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "apple", "tool_call_id": "1"},
        {"role": "tool", "content": "pear ", "name": "fruits"},
    ]
    assert to_prompt(prompt, tools=True) == (
        ASK,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "apple", "tool_call_id": "1"},
        {"role": "tool", "content": "pear", "name": "fruits"},
    )
    assert reason(prompt, tools=False) is Reason.TOOLS


def test_older_ways_to_write_them() -> None:
    called = {"role": "assistant", "content": None, "function_call": CALL["function"]}
    answered = {"role": "function", "name": "fruits", "content": "apple"}
    assert to_prompt([ASK, called, answered], tools=True)[1:] == (
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        answered,
    )
    observed = [{"from": "human", "value": "Hi."}, {"from": "observation", "value": "apple"}]
    assert [turn["role"] for turn in to_prompt(observed, tools=True)] == ["user", "tool"]


@pytest.mark.parametrize("several", [False, True])
def test_calls_as_sharegpt_writes_them(several: bool) -> None:
    functions = [CALL["function"]] * (2 if several else 1)
    called = {"from": "function_call", "value": json.dumps(functions if several else functions[0])}
    prompt = [ASK, called, {"from": "observation", "value": "apple"}]
    assert to_prompt(prompt, tools=True)[1]["tool_calls"] == [CALL] * len(functions)
    assert reason(prompt, tools=False) is Reason.TOOLS
    assert reason([ASK, {**called, "value": "fruits"}, ASK]) is Reason.WRONG_TYPE


@pytest.mark.parametrize(
    "call", [{"tool_calls": [CALL]}, {"function_call": CALL["function"]}], ids=str
)
def test_a_call_without_content_in_json_text(call: dict[str, Any]) -> None:
    prompt = json.dumps([ASK, {"role": "assistant", **call}, ASK])
    assert [turn["role"] for turn in to_prompt(prompt, tools=True)] == ["user", "assistant", "user"]


def test_content_that_is_no_text() -> None:
    assert to_prompt([{"role": "user", "content": [{"type": "text", "text": "Hi."}]}])
    assert reason([{"role": "user", "content": None}]) is Reason.WRONG_TYPE
    assert reason([{"role": "user", "content": [{"type": "image"}]}]) is Reason.PARTS
    assert reason([{"role": "user", "content": ["Hi."]}]) is Reason.PARTS
    calls: list[Any] = [{1, 2}]
    assert reason([ASK, {"role": "assistant", "tool_calls": calls}, ASK]) is Reason.WRONG_TYPE


def test_our_own_template_refuses_tools_and_others_see_the_calls() -> None:
    prompt = to_prompt(
        [
            ASK,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "apple"},
        ],
        tools=True,
    )
    tokenizer = training_tokenizer(ModelConfig(), 64)
    with pytest.raises(jinja2.TemplateError, match="allowed: turns of system, user, assistant"):
        render(tokenizer, prompt, "An apple.")
    tokenizer.chat_template = (
        "{% for turn in messages %}{{ turn.role }}"
        "{% for call in turn.tool_calls or [] %} {{ call.function.name }}{% endfor %}"
        ":{{ turn.content }};{% endfor %}"
    )
    assert render(tokenizer, prompt, "An apple.") == (
        "user:Name a fruit.;assistant fruits:;tool:apple;assistant:An apple.;"
    )
