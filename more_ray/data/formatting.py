"""Messages to text to tokens, one way for training, evaluation and serving.

The text is what the tokenizer's chat template renders, which writes all special tokens that it
needs; `more_ray.model.tokenizer` gives every tokenizer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, takewhile
from typing import TYPE_CHECKING

import jinja2

from more_ray.data.messages import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_LIMIT = 2**30
"""More tokens than any text has."""
SPEAKER = {"system": "System", "user": "Human", "assistant": "Assistant"}
"""How a transcript names the roles."""
TURNS: list[Message] = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
]
"""A sample conversation, rendered to find out what a template adds."""
ANSWER = "four"


def render(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], answer: str) -> str:
    """The text that is scored: the conversation with `answer` as its last turn.

    Raises:
        jinja2.TemplateError: the chat template refuses these roles.
    """
    turns = [*prompt, {"role": "assistant", "content": answer}]
    return tokenizer.apply_chat_template(turns, tokenize=False)


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message]) -> str:
    """The text that an answer continues: `render` up to where the answer begins.

    Raises:
        jinja2.TemplateError: the chat template refuses these roles.
    """
    return tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)


def rerender(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A complete text from a client, as `render` would have written it.

    Padding, special tokens and white space at its ends are replaced by what every rendering begins
    and ends with.
    """
    frame = _frame(tokenizer, tokenizer.chat_template, tokenizer.pad_token)
    before = None
    while before != text:
        before = text
        text = text.strip()
        for word in frame.special:
            text = text.removeprefix(word).removesuffix(word)
        for word in frame.ends_of_turn:
            text = text.removesuffix(word)
    return frame.beginning + text + frame.ending


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
    special_tokens: bool = False,
) -> list[list[int]]:
    """Token ids of rendered texts, which have all special tokens unless `special_tokens` adds some.

    A text of more than `max_length` tokens is cut. Pad tokens at the end are removed, even where a
    text ends with that token by itself: transformers' sequence classifiers score the last token
    that is not padding.
    """
    rows = []
    for tokens in tokenizer(
        list(texts), add_special_tokens=special_tokens, return_attention_mask=False, verbose=False
    )["input_ids"]:
        while len(tokens) > 1 and tokens[-1] == tokenizer.pad_token_id:
            tokens.pop()
        rows.append(cut(tokenizer, tokens, max_length))
    return rows


def cut(tokenizer: PreTrainedTokenizerBase, tokens: list[int], max_length: int) -> list[int]:
    """The last `max_length` tokens of a text that has more, after the tokens that every text begins
    with (BOS)."""
    if len(tokens) <= max_length:
        return tokens
    begin = _beginning(tokenizer, tokenizer.chat_template)
    kept = begin if tuple(tokens[: len(begin)]) == begin else ()
    return [*kept, *tokens[len(tokens) - max_length + len(kept) :]]


def shared_prefix(*sequences: Sequence[int]) -> int:
    """How many tokens all sequences begin with, leaving each at least one token of its own."""
    limit = min(map(len, sequences)) - 1
    for position, tokens in enumerate(islice(zip(*sequences), limit)):  # noqa: B905, they may differ
        if len(set(tokens)) > 1:
            return position
    return limit


@lru_cache(maxsize=8)
def _beginning(tokenizer: PreTrainedTokenizerBase, template: str) -> tuple[int, ...]:
    """Special tokens that every text begins with: BOS, and others that do not begin a turn."""
    tokens = _ids(tokenizer, _sample(tokenizer))

    def begins(token: int) -> bool:
        once = tokens.count(token) == 1
        return _is_special(tokenizer, token) and (once or token == tokenizer.bos_token_id)

    return tuple(takewhile(begins, tokens))


@dataclass(frozen=True)
class _Frame:
    """The text around a conversation, in a rendering and in texts from clients."""

    beginning: str
    ending: str
    special: tuple[str, ...]
    ends_of_turn: tuple[str, ...]
    """The end of the last turn, with and without EOS; it need not be a special token."""


@lru_cache(maxsize=8)
def _frame(tokenizer: PreTrainedTokenizerBase, template: str, pad: str | None) -> _Frame:
    begin = tokenizer.convert_ids_to_tokens(list(_beginning(tokenizer, template)))
    ending = _sample(tokenizer).rpartition(ANSWER)[2]
    known = tokenizer.added_tokens_decoder
    ends = [
        known[token].content for token in _ids(tokenizer, ending) if _is_special(tokenizer, token)
    ]
    last_turn = ending.strip()
    turn = last_turn.removesuffix(tokenizer.eos_token or "").strip()
    special = dict.fromkeys([pad, tokenizer.eos_token, tokenizer.bos_token, *begin, *ends])
    return _Frame(
        "".join(begin), ending, tuple(filter(None, special)), tuple(filter(None, (last_turn, turn)))
    )


def _sample(tokenizer: PreTrainedTokenizerBase) -> str:
    try:
        return render(tokenizer, TURNS, ANSWER)
    except jinja2.TemplateError:  # some render a single question and its answer only
        return render(tokenizer, TURNS[:1], ANSWER)


def _is_special(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    known = tokenizer.added_tokens_decoder
    return token in known and known[token].special


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]
