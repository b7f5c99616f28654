"""The training tasks, by the names that `objective.loss` takes: the model, its losses, how it is
evaluated and exported. The training loop of a worker runs any of them.

A new loss is a class here with a row in `TASKS`, and a row in `objective/losses.py`.

Legend: N test pairs, C numbers of a pair, K sources, H heads.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from more_ray.config import RunConfig
from more_ray.evaluate.files import write_likelihoods, write_scores
from more_ray.evaluate.pairs import EvaluationPairs
from more_ray.metrics.evaluation import Evaluation
from more_ray.metrics.perplexity import summarise_likelihoods
from more_ray.metrics.summary import summarise
from more_ray.model.answer_likelihood import AnswerLikelihood
from more_ray.model.batch_format import choose_attention, packed_attention_on
from more_ray.model.export import export
from more_ray.model.heads import DriftingRewardModel, RewardHead
from more_ray.model.heads_file import Heads, trained_heads, upload_heads
from more_ray.model.implicit_reward import ImplicitReward
from more_ray.model.loading import load_classifier, load_policy
from more_ray.model.lora import add_lora
from more_ray.model.reward_model import RewardModel
from more_ray.model.trunk_digest import trunk_digest
from more_ray.train.engine import DRIFTS, TrainedModel
from more_ray.train.exchange import of_first_rank
from more_ray.train.losses import AnswerLosses, Losses, RankingLosses

ModelT = TypeVar("ModelT", bound=RewardHead)


@dataclass(frozen=True)
class Task(ABC):
    """The methods that the training loop calls, on every rank unless a method says otherwise."""

    config: RunConfig
    names: tuple[str, ...]
    """The K sources that are trained on."""

    @abstractmethod
    def load_model(
        self, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, device: torch.device
    ) -> TrainedModel:
        """Load the untrained model on the CPU, ready to run on `device`.

        Raises:
            ModelError: the model that the settings name cannot be trained this way.
        """

    @abstractmethod
    def losses(self) -> Losses:
        """The losses of a micro-batch."""

    @abstractmethod
    def evaluate(self, pairs: EvaluationPairs, value_NC: np.ndarray, step: int) -> Evaluation:
        """Write the results of all test pairs; returns the content of `eval.json`.

        Called on rank 0 only.

        Args:
            value_NC: the numbers that the model returns for each pair.
            step: micro-steps done.
        """

    def export(
        self,
        trained: PreTrainedModel,
        weights: dict[str, Tensor],
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
    ) -> PreTrainedModel:
        """Write the model as a Hugging Face checkpoint; called on rank 0 only.

        Returns:
            what was written.

        Args:
            trained: the model, whose own weights may lie on other ranks.
            weights: all of them, gathered.
        """
        return export(trained, weights, self.config.model.lora, tokenizer, folder)


class RankingTask(Task):
    """Trains a reward head on the trunk of a language model with the ranking loss (1)."""

    def load_model(
        self, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, device: torch.device
    ) -> TrainedModel:
        settings = self.config.model
        classifier = load_classifier(settings, tokenizer, dtype, self.config.train.seed)
        if settings.lora:
            add_lora(classifier, settings.lora)
        model = RewardModel(classifier)
        wanted = settings.batch_format
        model.use_attention(of_first_rank(lambda: choose_attention(classifier, wanted, device)))
        return self.with_heads(model)

    def with_heads(self, model: ModelT) -> ModelT | DriftingRewardModel:
        """The model with a drift for each source, where `model.heads` asks for them."""
        return DriftingRewardModel(model, len(self.names)) if self.drifts else model

    @property
    def drifts(self) -> bool:
        return self.config.model.heads == "shared+drift"

    def losses(self) -> Losses:
        return RankingLosses(len(self.names), self.config.objective.margin)

    def evaluate(self, pairs: EvaluationPairs, value_NC: np.ndarray, step: int) -> Evaluation:
        scheme, seed = self.config.objective.scheme, self.config.train.seed
        score_N2H = value_NC.reshape(len(value_NC), 2, -1)
        shared = pairs.scores(score_N2H[:, :, 0])
        own = pairs.scores(pairs.by_own_head(score_N2H, self.names)) if self.drifts else shared
        write_scores(own, self.config.output_dir)
        result = summarise(own, scheme, step, seed)
        if self.drifts:
            whole = summarise(shared, scheme, step, seed)
            result["shared"] = {"sources": whole["sources"], "mean": whole["mean"]}
        return result

    def export(
        self,
        trained: PreTrainedModel,
        weights: dict[str, Tensor],
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
    ) -> PreTrainedModel:
        drift_KH = weights.pop(DRIFTS, None)
        exported = super().export(trained, weights, tokenizer, folder)
        if drift_KH is not None:
            shared_H = exported.score.weight.detach()[0]
            heads = Heads(*(weight.double().numpy() for weight in (shared_H, drift_KH)))
            found = trained_heads(self.names, trunk_digest(exported), heads)
            upload_heads(found, self.config.output_dir)
        return exported


class DpoTask(RankingTask):
    """Trains a policy with the ranking loss of its implicit rewards."""

    def load_model(
        self, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, device: torch.device
    ) -> TrainedModel:
        policy, attention = _load_policy(self.config, tokenizer, dtype, device)
        beta = self.config.objective.beta
        return ImplicitReward(policy, copy.deepcopy(policy), beta, attention)


class AnswersTask(Task):
    """Trains a policy with the negative log-likelihood of the chosen answers (3)."""

    def load_model(
        self, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, device: torch.device
    ) -> TrainedModel:
        return AnswerLikelihood(*_load_policy(self.config, tokenizer, dtype, device))

    def losses(self) -> Losses:
        return AnswerLosses(len(self.names))

    def evaluate(self, pairs: EvaluationPairs, value_NC: np.ndarray, step: int) -> Evaluation:
        likelihoods = pairs.likelihoods(value_NC[:, 0])
        write_likelihoods(likelihoods, self.config.output_dir)
        scheme, seed = self.config.objective.scheme, self.config.train.seed
        return summarise_likelihoods(likelihoods, scheme, step, seed)


def _load_policy(
    config: RunConfig,
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[PreTrainedModel, str]:
    """A causal LM, and the attention implementation for packed answers on `device`."""
    policy = load_policy(config.model, tokenizer, dtype, config.train.seed)
    return policy, of_first_rank(lambda: packed_attention_on(policy, device))


TASKS: dict[str, type[Task]] = {"ranking": RankingTask, "dpo": DpoTask, "sft": AnswersTask}


def task_of(config: RunConfig, names: tuple[str, ...]) -> Task:
    """The task that `config.objective.loss` names, on the K sources of the run."""
    return TASKS[config.objective.loss](config, names)
