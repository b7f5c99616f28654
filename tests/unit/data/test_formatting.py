from __future__ import annotations

from more_ray.config import ModelConfig
from more_ray.data.formatting import encode, render
from more_ray.data.messages import Message
from more_ray.model.tokenizer import load_tokenizer

PROMPT = (Message(role="user", content="Why?"),)


def test_a_transcript_where_there_is_no_chat_template() -> None:
    tokenizer = load_tokenizer(ModelConfig(), 64)
    assert render(tokenizer, PROMPT, "So.") == "Human: Why?\n\nAssistant: So.<|eos|>"


def test_truncation_drops_the_beginning_and_keeps_the_answer() -> None:
    tokenizer = load_tokenizer(ModelConfig(), 64)
    text = render(tokenizer, (Message(role="user", content="word " * 100),), "The answer.")
    (tokens,) = encode(tokenizer, [text], 16)
    assert len(tokens) == 16
    assert tokens[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(tokens).endswith("Assistant: The answer.<|eos|>")
