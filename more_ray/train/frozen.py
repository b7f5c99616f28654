"""Heads trained on a trunk that stays as it is: the steps of a whole model, on its hidden states.

A step takes a few milliseconds, so everything runs in this process, and a run that was stopped
begins again: it has no checkpoints.

Legend: N pairs, K sources, H hidden size, C numbers of a pair.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel

from more_ray import storage
from more_ray.bars import RunProgress
from more_ray.calibrate.features import Features, Pass, extract
from more_ray.calibrate.trunk import has_head, load_model
from more_ray.config import RunConfig
from more_ray.data.layout import Tensors
from more_ray.data.mixture import Mixture
from more_ray.data.prepared import Prepared, Split, labels_in
from more_ray.errors import UserError
from more_ray.evaluate.pairs import EvaluationPairs
from more_ray.metrics.evaluation import Evaluation
from more_ray.model.heads import DriftingRewardModel
from more_ray.model.reward_model import ScoreHead
from more_ray.model.tokenizer import prepared_tokenizer
from more_ray.model.trunk_digest import trunk_digest
from more_ray.objective.ranking import head_gradient_sums
from more_ray.objective.schemes import make_weighting
from more_ray.run_folder import METRICS, model_of, write_evaluation
from more_ray.train.engine import DRIFTS, make_optimizer, make_schedule
from more_ray.train.losses import RankingLosses
from more_ray.train.metrics_line import MetricsLine, metrics_line
from more_ray.train.optimizer import MasterAdamW
from more_ray.train.skips import Skips
from more_ray.train.step import micro_step, whole_batch_step
from more_ray.train.tasks import RankingTask
from more_ray.train.trackers import make_trackers

SHOWN_SECONDS = 0.2
"""How often the progress bar moves."""


@dataclass(frozen=True)
class FeatureBatch(Tensors):
    """N pairs by their last hidden states, and what the losses read of them."""

    z_N2H: Tensor
    source_N: Tensor
    margin_N: Tensor
    tokens_N: Tensor
    share_N: Tensor | None = None
    weight_N: Tensor | None = None

    def take(self, row_N: Tensor) -> FeatureBatch:
        return self.map(lambda value_N: value_N[row_N])


class FrozenTrunk(nn.Module):
    """A reward model whose trunk has run already, so that only its head is left.

    Args:
        head_1H: the head to begin with.
    """

    def __init__(self, head_1H: Tensor) -> None:
        super().__init__()
        self.score_head = ScoreHead(head_1H.shape[1], 1, bias=False)
        self.score_head.weight = nn.Parameter(head_1H.detach().float().clone())

    def forward(self, batch: FeatureBatch) -> tuple[Tensor, Tensor]:
        """Rewards `[N, 2]` and the hidden states `[N, 2, H]`, as of a whole model."""
        return self.score_head(batch.z_N2H).squeeze(-1), batch.z_N2H

    def gradient_sums(
        self, z_N2H: Tensor, slope_N: Tensor, source_N: Tensor, sources: int
    ) -> tuple[Tensor, Tensor]:
        """As of a whole model."""
        return head_gradient_sums(slope_N, *z_N2H.unbind(dim=1), source_N, sources)


Model = FrozenTrunk | DriftingRewardModel


class HeadEngine:
    """What the steps need of DeepSpeed's engine, in one process."""

    global_rank = 0

    def __init__(self, module: Model, config: RunConfig, micro_steps: int) -> None:
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


@dataclass(frozen=True)
class TrainingPairs:
    """All training pairs, source by source, and which of them make up the micro-batch of a step."""

    pairs: FeatureBatch
    mixture: Mixture

    def batch(self, step: int) -> FeatureBatch:
        first_K = np.concatenate([[0], np.cumsum(self.mixture.sizes)[:-1]])
        rows = self.mixture.rows(step)
        row_N = np.concatenate([first + row for first, row in zip(first_K, rows, strict=True)])
        return self.pairs.take(torch.from_numpy(row_N))


def read_pairs(features: Features, names: Sequence[str], split: Split) -> FeatureBatch:
    """The pairs of some sources, one after the other."""
    z, margin, tokens = [], [], []
    files = [features.prepared.file(name, split) for name in names]
    for name, file in zip(names, files, strict=True):
        z.append(np.stack(features.of(name, split), axis=1))
        table = file.take(np.arange(len(file)), ["margin", "tokens"])
        margin.append(table["margin"].fill_null(0).to_numpy())
        tokens.append(table["tokens"].to_numpy().astype(np.float32))
    source_N = np.repeat(np.arange(len(z)), [len(one) for one in z])
    margin_N, tokens_N = np.concatenate(margin), np.concatenate(tokens)
    arrays = (np.concatenate(z), source_N, margin_N, tokens_N)
    given = {f"{name}_N": torch.from_numpy(value_N) for name, value_N in labels_in(files).items()}
    return FeatureBatch(*map(torch.from_numpy, arrays), **given)


def hidden_states(
    config: RunConfig, prepared: Prepared, progress: Callable[[int, int], None]
) -> tuple[Features, PreTrainedModel]:
    """The hidden states, computed where they are not there yet, and the model on the CPU.

    Raises:
        ModelError: the model cannot be loaded.
    """
    classifier = load_model(config.model, prepared_tokenizer(prepared), torch.float32)
    train = config.train
    how = Pass(
        config.model,
        trunk_digest(classifier),
        train.features,
        train.precision,
        train.workers,
        train.use_gpu,
        train.eval_tokens,
    )
    return extract(prepared, how, progress), classifier


def train_frozen(
    config: RunConfig, prepared: Prepared, mixture: Mixture, steps: int, progress: RunProgress
) -> Evaluation:
    """Train on hidden states, evaluate, export.

    Raises:
        ModelError: the model cannot be loaded.
        UserError: steps were skipped `train.max_skipped` times in a row.
    """
    progress.phase("reading the model")
    features, classifier = hidden_states(config, prepared, progress.scored)
    task = RankingTask(config, mixture.names)
    model = task.with_heads(FrozenTrunk(_first_head(config, classifier)))
    pairs = TrainingPairs(read_pairs(features, mixture.names, "train"), mixture)
    trackers = make_trackers(config.output_dir, config)
    lines = []
    shown, skipped_steps = 0.0, 0
    for line in train_heads(model, config, pairs, steps):
        lines.append(line)
        for tracker in trackers:
            tracker.log(line)
        skipped_steps += line["skipped"]
        if line["time"] - shown > SHOWN_SECONDS:
            shown = line["time"]
            state = {"phase": "training", "line": line, "skipped_steps": skipped_steps}
            progress.show(state, steps)
    storage.write_text(
        storage.join(config.output_dir, METRICS), "".join(f"{json.dumps(one)}\n" for one in lines)
    )
    for tracker in trackers:
        tracker.close()
    progress.phase("evaluating")
    with torch.no_grad():
        value_NC, _ = model.eval()(read_pairs(features, prepared.names, "test"))
    result = task.evaluate(EvaluationPairs(prepared), value_NC.numpy(), steps)
    progress.phase("writing the model")
    weights = dict(classifier.state_dict())
    weights["score.weight"] = model.score_head.weight.detach()
    if isinstance(model, DriftingRewardModel):
        weights[DRIFTS] = model.drifts.weight.detach()
    with storage.uploading(model_of(config.output_dir), last="config.json") as folder:
        task.export(classifier, weights, prepared_tokenizer(prepared), folder)
    write_evaluation(config.output_dir, result)
    return result


def _first_head(config: RunConfig, classifier: PreTrainedModel) -> Tensor:
    """`[1, H]`: a reward model's own head, or a random one as such models begin with."""
    head_1H = classifier.score.weight.detach()
    if has_head(config.model):
        return head_1H
    generator = torch.Generator().manual_seed(config.train.seed)
    spread = classifier.config.get_text_config().initializer_range
    return torch.normal(0.0, spread, head_1H.shape, generator=generator)


@contextmanager
def _alone() -> Iterator[None]:
    """A group of this process alone, in which ranks agree on lam as they always do."""
    if dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def train_heads(
    model: Model, config: RunConfig, pairs: TrainingPairs, steps: int
) -> Iterator[MetricsLine]:
    """Train with the settings that `worker.train` reads; gives the line of each step.

    Raises:
        UserError: steps were skipped `train.max_skipped` times in a row.
    """
    with _alone():
        scope, names = config.objective.scope, pairs.mixture.names
        engine = HeadEngine(model.train(), config, steps)
        weighting = make_weighting(config.objective, names, pairs.mixture.sizes)
        losses = RankingLosses(len(names), config.objective.margin)
        skips = Skips(engine, names)
        stride = config.train.accumulation if scope == "batch" else 1
        for step in range(0, steps, stride):
            started, lr = time.perf_counter(), engine.get_lr()[0]
            micro_batches = [pairs.batch(step + offset) for offset in range(stride)]
            waited = time.perf_counter() - started
            if scope == "batch":
                seeds = list(range(step, step + stride))
                stats = whole_batch_step(engine, micro_batches, seeds, weighting, losses)
            else:
                torch.manual_seed(step)
                stats = micro_step(engine, micro_batches[0], weighting, scope, losses)
            assert stats is not None
            last, skipped = step + stride - 1, skips.look(stats)
            seconds = time.perf_counter() - started
            yield metrics_line(last, lr, stats, names, seconds, waited, skipped)
            if skips.in_a_row == config.train.max_skipped:
                raise UserError(f"training stopped: {skips.reason(last)}")
