"""The rewards of a prompt's answers, from a model in this process."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from more_ray.config import ModelConfig
from more_ray.data.formatting import encode, render
from more_ray.data.packing import pack
from more_ray.data.records import Message
from more_ray.model.loading import load_reward_model, load_tokenizer


class LocalScorer:
    """Scores with a reward model in this process."""

    def __init__(self, model: ModelConfig, max_length: int) -> None:
        self._tokenizer = load_tokenizer(model, max_length)
        self._model = load_reward_model(model, self._tokenizer)
        self._max_length = max_length

    @torch.inference_mode()
    def __call__(self, prompt: Sequence[Message], responses: Sequence[str]) -> list[float]:
        texts = [render(self._tokenizer, prompt, response) for response in responses]
        tokens = encode(self._tokenizer, texts, self._max_length)
        # Pairs share their prompt; an odd one is paired with itself.
        chosen, rejected = tokens[::2], [*tokens[1::2], *tokens[len(tokens) // 2 * 2 :]]
        reward_N2, _ = self._model(pack(chosen, rejected))
        return reward_N2.flatten()[: len(tokens)].tolist()
