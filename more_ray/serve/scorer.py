"""Texts to rewards, as in training: the same messages, tokens and model.

Legend: A answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import jinja2
import torch

from more_ray.config.serve import ServeConfig
from more_ray.data.formatting import encode, render, rerender, shared_prefix
from more_ray.data.messages import to_prompt
from more_ray.data.packing import pack_answers
from more_ray.data.rejects import InvalidRecord, Reason, text
from more_ray.model.architecture import most_positions
from more_ray.model.loading import load_reward_model, load_reward_tokenizer

Answers = list[list[int]]
"""Token ids of a prompt with each of its answers."""


class Scorer:
    """A reward model with its tokenizer."""

    def __init__(self, config: ServeConfig, device: str = "cpu") -> None:
        self._device = device
        self._tokenizer = load_reward_tokenizer(config.model, config.max_length)
        self._model = load_reward_model(config.model, self._tokenizer, device)
        positions = most_positions(self._model.classifier)
        self.max_length: int = min(self._tokenizer.model_max_length, positions or 2**20)

    def answers(self, prompt: Any, responses: Sequence[str]) -> Answers:
        """Tokens of answers to a prompt: messages, a transcript, or what a user says.

        Raises:
            InvalidRecord: a prompt that does not end with a user's turn, or that the chat template
                refuses.
        """
        context = to_prompt(prompt)
        try:
            texts = [
                render(self._tokenizer, context, text(one, "response").strip()) for one in responses
            ]
        except jinja2.TemplateError as error:
            raise InvalidRecord(Reason.TEMPLATE, str(error)) from error
        return encode(self._tokenizer, texts, self.max_length)

    def texts(self, texts: Sequence[str], prompts: Sequence[str] | None) -> list[Answers]:
        """Tokens of whole texts; neighbours with the same prompt are answers to one."""
        rendered = [rerender(self._tokenizer, text(one, "query")) for one in texts]
        tokens = iter(encode(self._tokenizer, rendered, self.max_length))
        keys = range(len(texts)) if prompts is None else prompts
        return [[next(tokens) for _ in same] for _, same in groupby(keys)]

    def tokens(self, answers: Answers) -> int:
        """Tokens that are computed: packed, what all answers begin with counts once; else the
        longest answer counts for each."""
        if not getattr(self._model, "packed", False):
            return len(answers) * max(map(len, answers))
        return sum(map(len, answers)) - (len(answers) - 1) * shared_prefix(*answers)

    @torch.no_grad()
    def scores(self, prompts: Sequence[Answers]) -> list[list[float]]:
        """The reward of each answer to each prompt."""
        reward_A, _ = self._model.score(pack_answers(prompts).to(self._device))
        split = reward_A.cpu().split([len(answers) for answers in prompts])
        return [rewards.tolist() for rewards in split]
