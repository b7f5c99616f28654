"""Heads trained on a trunk that stays as it is: the steps of a whole model, on its hidden states.

A step takes about a millisecond, so everything runs in this process, and a run that was stopped
begins again: it has no checkpoints.

Legend: N pairs, K sources, H hidden size, C numbers of a pair.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from more_ray import storage
from more_ray.bars import RunProgress
from more_ray.calibrate.features import Features, Pass, extract
from more_ray.calibrate.trunk import load_model
from more_ray.config import RunConfig
from more_ray.data.mixture import Mixture
from more_ray.data.packing import PackedBatch
from more_ray.data.prepared import Prepared
from more_ray.errors import UserError
from more_ray.evaluate.pairs import EvaluationPairs
from more_ray.metrics.evaluation import Evaluation
from more_ray.model.heads import DriftingRewardModel
from more_ray.model.reward_model import RewardModel
from more_ray.model.tokenizer import prepared_tokenizer
from more_ray.model.trunk_digest import trunk_digest
from more_ray.objective.schemes import make_weighting
from more_ray.run_folder import METRICS, model_of, write_evaluation
from more_ray.train.engine import DRIFTS, make_optimizer, make_schedule
from more_ray.train.metrics_line import MetricsLine, metrics_line
from more_ray.train.optimizer import MasterAdamW
from more_ray.train.skips import Skips
from more_ray.train.step import micro_step, whole_batch_step
from more_ray.train.tasks import RankingTask

SHOWN_SECONDS = 0.2
"""How often the progress bar moves."""


@dataclass(frozen=True)
class FeatureBatch:
    """N pairs by their last hidden states, and what the losses read of them."""

    z_N2H: Tensor
    source_N: Tensor
    margin_N: Tensor
    tokens_N: Tensor


class FrozenTrunk(RewardModel):
    """A reward model whose trunk has run already: only its head is trained."""

    def __init__(self, classifier: PreTrainedModel) -> None:
        super().__init__(classifier)
        for name, parameter in classifier.named_parameters():
            parameter.requires_grad_(name == "score.weight")

    def forward(self, batch: PackedBatch | FeatureBatch) -> tuple[Tensor, Tensor]:
        """Rewards `[N, 2]` and the hidden states `[N, 2, H]`, as of any reward model."""
        z_N2H = cast(FeatureBatch, batch).z_N2H
        return self.classifier.score(z_N2H).squeeze(-1), z_N2H


class HeadEngine:
    """What the steps need of DeepSpeed's engine, in one process."""

    global_rank = 0

    def __init__(
        self, module: RewardModel | DriftingRewardModel, config: RunConfig, micro_steps: int
    ) -> None:
        self.module = module
        self.global_steps = 0
        self._micro_steps, self._accumulation = 0, config.train.accumulation
        self._optimizer = cast(MasterAdamW, make_optimizer(module, config))
        self._schedule = make_schedule(self._optimizer, config, micro_steps)

    def __call__(self, batch: FeatureBatch) -> tuple[Tensor, Tensor]:
        return self.module(batch)

    def backward(self, loss: Tensor) -> None:
        (loss / self._accumulation).backward()

    def step(self) -> None:
        self._micro_steps += 1
        if self._micro_steps % self._accumulation:
            return
        self._optimizer.step()
        if self.was_step_applied():
            self._schedule.step()
        self._optimizer.zero_grad()
        self.global_steps += 1

    def was_step_applied(self) -> bool:
        return not self._optimizer.overflow

    def get_lr(self) -> list[Any]:
        return self._schedule.get_last_lr()


class TrainingFeatures:
    """The hidden states of the training pairs, and the micro-batch of each step."""

    def __init__(self, features: Features, mixture: Mixture) -> None:
        self.sizes, self._mixture = mixture.sizes, mixture
        z, columns = [], {"margin": [], "tokens": []}
        for name in mixture.names:
            file = features.prepared.file(name, "train")
            z.append(np.stack(features.of(name, "train"), axis=1))
            table = file.take(np.arange(len(file)), list(columns))
            for column, values in columns.items():
                values.append(table[column].fill_null(0).to_numpy().astype(np.float32))
        self._z_N2H = torch.from_numpy(np.concatenate(z))
        self._margin_N = torch.from_numpy(np.concatenate(columns["margin"]))
        self._tokens_N = torch.from_numpy(np.concatenate(columns["tokens"]))
        self._first_K = np.concatenate([[0], np.cumsum([len(one) for one in z])[:-1]])

    def batch(self, step: int) -> FeatureBatch:
        rows = self._mixture.rows(step)
        row_N = torch.from_numpy(
            np.concatenate([first + row for first, row in zip(self._first_K, rows, strict=True)])
        )
        source_N = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        return FeatureBatch(
            self._z_N2H[row_N],
            torch.from_numpy(source_N),
            self._margin_N[row_N],
            self._tokens_N[row_N],
        )


def train_frozen(
    config: RunConfig, prepared: Prepared, mixture: Mixture, steps: int, progress: RunProgress
) -> Evaluation:
    """Compute the hidden states that are not there yet, train, evaluate, export.

    Raises:
        ModelError: the model cannot be loaded.
        UserError: steps were skipped `train.max_skipped` times in a row.
    """
    progress.phase("reading the model")
    tokenizer = prepared_tokenizer(prepared)
    classifier = load_model(config.model, tokenizer, torch.float32, config.train.seed)
    features = extract(prepared, _pass(config, trunk_digest(classifier)), progress.scored)
    task = RankingTask(config, mixture.names)
    model = task.with_heads(FrozenTrunk(classifier))
    with _alone():
        lines = list(_trained(model, task, TrainingFeatures(features, mixture), steps, progress))
    storage.write_text(
        storage.join(config.output_dir, METRICS), "".join(f"{json.dumps(one)}\n" for one in lines)
    )
    progress.phase("evaluating")
    result = task.evaluate(EvaluationPairs(prepared), _test_values(model, features), steps)
    progress.phase("writing the model")
    weights = dict(classifier.state_dict())
    if isinstance(model, DriftingRewardModel):
        weights[DRIFTS] = model.drifts.weight.detach()
    with tempfile.TemporaryDirectory() as folder:
        task.export(classifier, weights, tokenizer, Path(folder))
        storage.upload(Path(folder), model_of(config.output_dir), last="config.json")
    write_evaluation(config.output_dir, result)
    return result


def _pass(config: RunConfig, trunk: str) -> Pass:
    train = config.train
    return Pass(
        config.model,
        trunk,
        train.features,
        train.precision,
        train.workers,
        train.use_gpu,
        train.eval_tokens,
    )


@contextmanager
def _alone() -> Iterator[None]:
    """A group of this process alone, in which ranks agree on lam as they always do."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _trained(
    model: RewardModel | DriftingRewardModel,
    task: RankingTask,
    pairs: TrainingFeatures,
    steps: int,
    progress: RunProgress,
) -> Iterator[MetricsLine]:
    """Train; the line of each step, with the settings of `worker.train`."""
    config = task.config
    scope, names = config.objective.scope, task.names
    engine = HeadEngine(model.train(), config, steps)
    weighting = make_weighting(config.objective, names, pairs.sizes)
    losses, skips = task.losses(), Skips(engine, names)
    stride = config.train.accumulation if scope == "batch" else 1
    shown, skipped_steps = 0.0, 0
    for step in range(0, steps, stride):
        started = time.perf_counter()
        micro_batches = [pairs.batch(step + offset) for offset in range(stride)]
        waited, lr = time.perf_counter() - started, engine.get_lr()[0]
        if scope == "batch":
            stats = whole_batch_step(engine, micro_batches, [0] * stride, weighting, losses)
        else:
            stats = micro_step(engine, micro_batches[0], weighting, scope, losses)
        assert stats is not None
        skipped = skips.look(stats)
        seconds = time.perf_counter() - started
        line = metrics_line(step + stride - 1, lr, stats, names, seconds, waited, skipped)
        yield line
        skipped_steps += skipped
        if skips.in_a_row == config.train.max_skipped:
            raise UserError(f"training stopped: {skips.reason(step + stride - 1)}")
        if started - shown > SHOWN_SECONDS:
            shown = started
            state = {"phase": "training", "line": line, "skipped_steps": skipped_steps}
            progress.show(state, steps)


@torch.no_grad()
def _test_values(
    model: RewardModel | DriftingRewardModel, features: Features
) -> NDArray[np.float32]:
    """`[N, C]` of all test pairs, as `run_test_pairs` gives for a whole model."""
    model.eval()
    values = []
    for name in features.prepared.names:
        z_N2H = torch.from_numpy(np.stack(features.of(name, "test"), axis=1))
        nothing_N = torch.zeros(len(z_N2H))
        values.append(model(FeatureBatch(z_N2H, nothing_N.long(), nothing_N, nothing_N))[0])
    return torch.cat(values).numpy()
