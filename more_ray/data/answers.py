"""The two answers of a pair, and the prompt that they may repeat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from more_ray.data.messages import (
    Message,
    dialogue,
    is_plain,
    messages,
    parse_transcript,
    parsed,
)
from more_ray.data.rejects import InvalidRecord, Reason, text


def split(prompt: Any, chosen: Any, rejected: Any) -> tuple[tuple[Message, ...], str, str]:
    """The prompt's messages and the two answers, each answer "" where there is none.

    Without a prompt, the answers are whole dialogues. With one, they may repeat it. Where it is a
    text that is empty or one of the users' turns of their messages, those messages are the prompt.

    Raises:
        InvalidRecord: a value is not a dialogue, or the answers are not to the same prompt.
    """
    if prompt is None:
        context, better = _cut(dialogue(chosen, "chosen"))
        rejected_context, worse = _cut(dialogue(rejected, "rejected"))
        if better and worse and context != rejected_context:
            raise InvalidRecord(
                Reason.PROMPTS_DIFFER, "chosen and rejected differ before the answer"
            )
        return context, better, worse
    answers = {"chosen": parsed(chosen), "rejected": parsed(rejected)}
    context = _context(prompt, answers)
    worse = "" if rejected is None else _answer(answers["rejected"], "rejected", context)
    return context, _answer(answers["chosen"], "chosen", context), worse


def _context(prompt: Any, answers: Mapping[str, Any]) -> tuple[Message, ...]:
    """The turns of a prompt, or those before the answers where these say more."""
    told = parsed(prompt)
    dialogues = {name: value for name, value in answers.items() if isinstance(value, list)}
    if isinstance(told, str) and dialogues:
        first, *others = (_cut(messages(value, name))[0] for name, value in dialogues.items())
        asked = [turn["content"] for turn in first if turn["role"] == "user"]
        if asked and all(other == first for other in others) and told.strip() in ("", *asked):
            return first
    return dialogue(prompt, "prompt")


def _answer(value: Any, name: str, context: tuple[Message, ...]) -> str:
    if isinstance(value, str):
        before, answer = _cut(parse_transcript(text(value, name)))
        repeats = before == context
        return answer if repeats and answer else value.strip()
    before, answer = _cut(messages(value, name))
    if before and before != context:
        raise InvalidRecord(Reason.PROMPTS_DIFFER, f"{name} does not continue prompt")
    return answer


def _cut(turns: tuple[Message, ...]) -> tuple[tuple[Message, ...], str]:
    """Split off a final assistant turn: the messages before it, and its text or ""."""
    if not turns or turns[-1]["role"] != "assistant":
        return turns, ""
    if not is_plain(turns[-1]):
        raise InvalidRecord(Reason.TOOLS, "an answer that calls a tool; allowed: a text")
    return turns[:-1], turns[-1]["content"]
