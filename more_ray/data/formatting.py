"""Messages to text to tokens, one way for training, evaluation and serving."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from more_ray.data.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPEAKER = {"system": "System", "user": "Human", "assistant": "Assistant"}


def render(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], answer: str) -> str:
    """The text that is scored: the conversation with `answer` as its last turn, then EOS.

    Uses the tokenizer's chat template where it has one, a Human/Assistant transcript where not.

    Raises:
        jinja2.TemplateError: the chat template refuses these roles.
    """
    turns = [*prompt, {"role": "assistant", "content": answer}]
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(turns, tokenize=False).rstrip()
    else:
        text = "\n\n".join(f"{SPEAKER[turn['role']]}: {turn['content']}" for turn in turns)
    return text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message]) -> str:
    """The text that an answer continues: `render` up to where the answer begins.

    Raises:
        jinja2.TemplateError: the chat template refuses these roles.
    """
    if tokenizer.chat_template:
        return tokenizer.apply_chat_template(
            list(prompt), tokenize=False, add_generation_prompt=True
        )
    turns = [f"{SPEAKER[turn['role']]}: {turn['content']}" for turn in prompt]
    return "\n\n".join([*turns, f"{SPEAKER['assistant']}:"])


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int
) -> list[list[int]]:
    """Token ids of rendered texts; one longer than `max_length` loses its beginning.

    A chat template writes its own special tokens; otherwise the tokenizer adds its usual ones.
    The tokenizer's truncation side must be left, as `load_tokenizer` sets it.
    """
    return tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        add_special_tokens=tokenizer.chat_template is None,
        return_attention_mask=False,
    )["input_ids"]


def shared_prefix(*sequences: Sequence[int]) -> int:
    """Tokens that all sequences begin with, leaving each at least one of its own."""
    limit = min(map(len, sequences)) - 1
    for place, tokens in enumerate(islice(zip(*sequences), limit)):  # noqa: B905, they may differ
        if len(set(tokens)) > 1:
            return place
    return limit
