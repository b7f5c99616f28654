"""Score texts as in training, with the same messages, tokens and model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import jinja2
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from more_ray.config import ModelConfig
from more_ray.data.formatting import encode, render, render_prompt, rerender, shared_prefix
from more_ray.data.messages import to_prompt
from more_ray.data.packing import packed_tokens
from more_ray.data.rejects import InvalidRecord, Reason, text
from more_ray.device import SCORING_TOKENS
from more_ray.errors import ModelError, UserError
from more_ray.model.architecture import most_positions
from more_ray.model.loading import load_reward_model, load_reward_tokenizer
from more_ray.model.prompt_cache import PromptCache
from more_ray.model.scoring_batch import Answers, Features, ScoringBatch, Work

END = -1
"""No token."""


class Scorer:
    """A reward model with its tokenizer.

    Args:
        max_length: tokens of a prompt and its answer; longer ones lose their beginning. Unset: as
            the model's tokenizer says, which is as it was trained.
        device: "cpu" or "cuda".
        prompt_cache_mib: memory for what attention reads of prompts, so that further answers to
            them are computed alone. Models that do not read it use none.
    """

    def __init__(
        self,
        model: ModelConfig,
        max_length: int | None = None,
        device: str = "cpu",
        prompt_cache_mib: int = 0,
    ) -> None:
        self._device = device
        self._tokenizer = load_reward_tokenizer(model, max_length)
        self._model = load_reward_model(model, self._tokenizer, device)
        positions = most_positions(self._model.classifier)
        self.max_length: int = min(self._tokenizer.model_max_length, positions or 2**20)
        keeps_prompts = getattr(self._model, "keeps_prompts", False)
        self.prompt_cache = PromptCache(prompt_cache_mib * 2**20 if keeps_prompts else 0)
        self.work = Work(0, 0, 0)
        """What the last batch took."""

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
        reward_A, z_AH = joined([self.features([part])[0] for part in tokens.parts(at_once)])
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
        rows = encode(self._tokenizer, self.rendered(prompt, responses), self.max_length)
        context = to_prompt(prompt, tools=True)
        try:
            return self._answers(rows, render_prompt(self._tokenizer, context))
        except jinja2.TemplateError:  # a template may render whole conversations only
            return Answers(rows)

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
        if prompts is None:
            return [Answers([row]) for row in tokens]
        return [
            self._answers([next(tokens) for _ in same], rerender(self._tokenizer, prompt))
            for prompt, same in groupby(prompts)
        ]

    def _answers(self, rows: list[list[int]], prompt: str) -> Answers:
        """Answers to a prompt, whose tokens are those that the rendered prompt and all rows begin
        with: the tokenizer may merge where an answer begins, and rows may lack their beginning."""
        if not self._packed:
            return Answers(rows)
        (alone,) = encode(self._tokenizer, [prompt], self.max_length)
        return Answers(rows, shared_prefix([*alone, END], *rows))

    def tokens(self, answers: Answers) -> int:
        """How many tokens are computed: packed answers count their shared beginning once, padded
        answers all count as the longest."""
        return packed_tokens(answers) if self._packed else len(answers) * max(map(len, answers))

    def scores(self, prompts: Sequence[Answers]) -> list[list[float]]:
        """The reward of each answer to each prompt."""
        return [rewards.tolist() for rewards, _ in self.features(prompts)]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self._tokenizer

    @property
    def _packed(self) -> bool:
        return getattr(self._model, "packed", False)

    @property
    def classifier(self) -> PreTrainedModel:
        return self._model.classifier

    @torch.no_grad()
    def features(self, prompts: Sequence[Answers]) -> list[Features]:
        """The features of each prompt's answers, from one forward pass."""
        batch = ScoringBatch(prompts, self.prompt_cache)
        reward_A, z_AH = self._model.score(batch.packed.to(self._device), batch.beginnings)
        batch.keep(self.prompt_cache)
        self.work = batch.work
        if not self._packed:
            self.work = batch.work._replace(computed=sum(map(self.tokens, prompts)))
        return batch.by_request(reward_A.cpu(), None if z_AH is None else z_AH.float().cpu())


def joined(parts: Sequence[Features]) -> Features:
    """The features of several groups of answers as one, in order."""
    states = [z_aH for _, z_aH in parts if z_aH is not None]
    return torch.cat([reward_a for reward_a, _ in parts]), torch.cat(states) if states else None
