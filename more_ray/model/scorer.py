"""Score texts as in training, with the same messages, tokens and model.

Legend: A answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import jinja2
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from more_ray.config import ModelConfig
from more_ray.data.formatting import encode, render, rerender, shared_prefix
from more_ray.data.messages import to_prompt
from more_ray.data.packing import pack_answers
from more_ray.data.rejects import InvalidRecord, Reason, text
from more_ray.device import SCORING_TOKENS
from more_ray.errors import ModelError, UserError
from more_ray.model.architecture import most_positions
from more_ray.model.loading import load_reward_model, load_reward_tokenizer

Answers = list[list[int]]
"""Token ids of a prompt with each of its answers."""
Features = tuple[Tensor, Tensor | None]
"""Rewards `[A]` of answers and their last hidden states `[A, H]`, in fp32 on the CPU; None
instead of these where the classifier's head is not a plain one."""


class Scorer:
    """A reward model with its tokenizer.

    Args:
        max_length: tokens of a prompt and its answer; longer ones lose their beginning. Unset: as
            the model's tokenizer says, which is as it was trained.
        device: "cpu" or "cuda".
    """

    def __init__(
        self,
        model: ModelConfig,
        max_length: int | None = None,
        device: str = "cpu",
    ) -> None:
        self._device = device
        self._tokenizer = load_reward_tokenizer(model, max_length)
        self._model = load_reward_model(model, self._tokenizer, device)
        positions = most_positions(self._model.classifier)
        self.max_length: int = min(self._tokenizer.model_max_length, positions or 2**20)

    def score(self, prompt: Any, answers: Sequence[str]) -> list[float]:
        """The reward of each answer to a prompt: chat messages, a transcript, or what a user says.

        Raises:
            UserError: the prompt or an answer cannot be used.
            ModelError: the model gives an answer no finite score.
        """
        return self.features_of(prompt, answers)[0].tolist()

    def features_of(self, prompt: Any, answers: Sequence[str]) -> Features:
        """The features of any number of answers; raises as `score` does."""
        if isinstance(answers, str) or not answers:
            raise UserError(f"answers: got {answers!r}, allowed: a list of texts")
        try:
            tokens = self.answers(prompt, answers)
        except InvalidRecord as error:
            raise UserError(" ".join(str(error).split())) from error
        at_once = max(1, SCORING_TOKENS[self._device] // max(map(len, tokens)))
        parts = [
            self.features([tokens[first : first + at_once]])[0]
            for first in range(0, len(tokens), at_once)
        ]
        reward_A, z_AH = joined(parts)
        for position, score in enumerate(reward_A.tolist()):
            if not math.isfinite(score):
                raise ModelError(f"the score of answer {position} is not finite: {score}")
        return reward_A, z_AH

    def answers(self, prompt: Any, responses: Sequence[str]) -> Answers:
        """Tokens of answers to a prompt: messages, a transcript, or what a user says.

        Raises:
            InvalidRecord: a prompt that does not end with a user's turn, or that the chat template
                refuses.
        """
        return encode(self._tokenizer, self.rendered(prompt, responses), self.max_length)

    def rendered(self, prompt: Any, responses: Sequence[str]) -> list[str]:
        """The text of each answer with its prompt; raises as `answers` does."""
        context = to_prompt(prompt, tools=True)
        try:
            return [
                render(self._tokenizer, context, text(response, "response").strip())
                for response in responses
            ]
        except jinja2.TemplateError as error:
            raise InvalidRecord(Reason.TEMPLATE, str(error)) from error

    def texts(self, texts: Sequence[str], prompts: Sequence[str] | None) -> list[Answers]:
        """Tokens of rendered texts; neighbours with the same prompt are grouped as its answers."""
        rendered = [rerender(self._tokenizer, text(query, "query")) for query in texts]
        tokens = iter(encode(self._tokenizer, rendered, self.max_length))
        keys = range(len(texts)) if prompts is None else prompts
        return [[next(tokens) for _ in same] for _, same in groupby(keys)]

    def tokens(self, answers: Answers) -> int:
        """How many tokens are computed: packed answers count their shared beginning once, padded
        answers all count as the longest."""
        if not getattr(self._model, "packed", False):
            return len(answers) * max(map(len, answers))
        return sum(map(len, answers)) - (len(answers) - 1) * shared_prefix(*answers)

    def scores(self, prompts: Sequence[Answers]) -> list[list[float]]:
        """The reward of each answer to each prompt."""
        return [rewards.tolist() for rewards, _ in self.features(prompts)]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self._tokenizer

    @property
    def classifier(self) -> PreTrainedModel:
        return self._model.classifier

    @torch.no_grad()
    def features(self, prompts: Sequence[Answers]) -> list[Features]:
        """The features of each prompt's answers."""
        reward_A, z_AH = self._model.score(pack_answers(prompts).to(self._device))
        sizes = [len(answers) for answers in prompts]
        reward_s = reward_A.cpu().split(sizes)
        z_s = [None] * len(sizes) if z_AH is None else z_AH.float().cpu().split(sizes)
        return list(zip(reward_s, z_s, strict=True))


def joined(parts: Sequence[Features]) -> Features:
    """The features of several groups of answers as one, in order."""
    states = [z_aH for _, z_aH in parts if z_aH is not None]
    return torch.cat([reward_a for reward_a, _ in parts]), torch.cat(states) if states else None
