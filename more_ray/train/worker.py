"""The Ray Train loop: what each worker runs."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deepspeed
import numpy as np
import pyarrow as pa
import ray
import ray.train
import ray.train.torch
import torch
from numpy.random import SeedSequence
from transformers import AutoTokenizer

from more_ray import storage
from more_ray.config import RunConfig
from more_ray.data.prepared import Prepared
from more_ray.device import SCORING_TOKENS, use_threads
from more_ray.evaluate.files import write_likelihoods, write_scores
from more_ray.evaluate.on_workers import run_test_pairs
from more_ray.evaluate.pairs import EvaluationPairs
from more_ray.metrics.perplexity import summarise_likelihoods
from more_ray.metrics.summary import summarise
from more_ray.model.answer_likelihood import AnswerLikelihood
from more_ray.model.batch_format import choose_attention, packed_attention_on
from more_ray.model.compilation import compile_blocks
from more_ray.model.export import export
from more_ray.model.implicit_reward import ImplicitReward
from more_ray.model.loading import add_lora, load_classifier, load_policy
from more_ray.model.reward_model import RewardModel
from more_ray.objective.schemes import make_weighting
from more_ray.run_folder import model_of, write_evaluation
from more_ray.train import checkpoint
from more_ray.train.batches import batches, on_device
from more_ray.train.engine import (
    TrainedModel,
    gather_weights,
    init_distributed,
    make_engine,
)
from more_ray.train.exchange import SourceStats, of_first_rank
from more_ray.train.job import Job
from more_ray.train.losses import AnswerLosses, Losses, RankingLosses
from more_ray.train.precision import kept_dtype
from more_ray.train.preemption import Announcements, leave
from more_ray.train.skips import Skips
from more_ray.train.step import micro_step, whole_batch_step


def train(job: Job, wait_for_stream: Callable[[], Iterator[pa.Table]]) -> None:
    """Train, checkpoint, evaluate, export."""
    settings = job.config.train
    context = ray.train.get_context()
    rank = context.get_world_rank()
    device = ray.train.torch.get_device()
    use_threads(context.get_local_world_size(), settings.threads)
    init_distributed(settings.stall_timeout)

    tokenizer = _load_prepared_tokenizer(job.prepared)
    dtype = of_first_rank(lambda: kept_dtype(job.config, device))
    model = _load_model(job.config, tokenizer, dtype, device)
    if settings.gradient_checkpointing:
        model.trained.gradient_checkpointing_enable({"use_reentrant": False})
    if settings.compile:
        compile_blocks(model.trained)
    names = job.mixture.names
    weighting = make_weighting(job.config.objective, names, job.mixture.sizes)
    with checkpoint.newest(job.config.output_dir) as saved:
        engine = make_engine(model, job.config, dtype, job.steps, saved.universal)
        first = checkpoint.load(engine, weighting, saved)
    engine.train()
    if rank == 0:
        ray.get(job.run_log.resume.remote(first, context.get_world_size()))
    every = settings.checkpoint_every or _about_ten(job.steps, settings.accumulation)

    objective = job.config.objective
    losses: Losses = RankingLosses(len(names), objective.margin)
    if objective.loss == "sft":
        losses = AnswerLosses(len(names))
    together = settings.accumulation if objective.scope == "batch" else 1
    skips = Skips(engine, names)
    announcements = Announcements(settings.stall_timeout)
    stream = on_device(batches(wait_for_stream(), rank, first, job.steps), device)
    for step in range(first, job.steps, together):
        started = time.perf_counter()
        micro_batches = [next(stream) for _ in range(together)]
        waited = time.perf_counter() - started
        lr = engine.get_lr()[0]
        seeds = [_dropout_seed(settings.seed, step + offset, rank) for offset in range(together)]
        if objective.scope == "batch":
            stats = whole_batch_step(engine, micro_batches, seeds, weighting, losses)
        else:
            torch.manual_seed(seeds[0])
            stats = micro_step(engine, micro_batches[0], weighting, objective.scope, losses)
        done = step + together
        skipped = skips.look(stats)
        if stats is not None:
            seconds = time.perf_counter() - started
            line = _metrics(done - 1, lr, stats, names, seconds, waited)
            job.run_log.log.remote({**line, "skipped": skipped})
        if skips.in_a_row == settings.max_skipped:
            if rank == 0:
                ray.get(job.run_log.stop.remote(skips.reason(done - 1)))
            return
        leaving = done % settings.accumulation == 0 and announcements.seen()
        if done % every == 0 or done == job.steps or leaving:
            if rank == 0:
                ray.get(job.run_log.flush.remote())
            checkpoint.save(engine, weighting, done, job.config)
        if settings.eval_every and done % settings.eval_every == 0 and done < job.steps:
            _evaluate(engine, job, done, device)
        if leaving and done < job.steps:
            leave()
    _evaluate(engine, job, job.steps, device)
    _export(engine, job, tokenizer)


def _load_model(
    config: RunConfig, tokenizer: Any, dtype: torch.dtype, device: torch.device
) -> TrainedModel:
    if config.objective.loss != "ranking":
        policy = load_policy(config.model, tokenizer, dtype, config.train.seed)
        attention = of_first_rank(lambda: packed_attention_on(policy, device))
        if config.objective.loss == "sft":
            return AnswerLikelihood(policy, attention)
        return ImplicitReward(policy, copy.deepcopy(policy), config.objective.beta, attention)
    classifier = load_classifier(config.model, tokenizer, dtype, config.train.seed)
    if config.model.lora:
        add_lora(classifier, config.model.lora)
    model = RewardModel(classifier)
    wanted = config.model.batch_format
    model.use_attention(of_first_rank(lambda: choose_attention(classifier, wanted, device)))
    return model


def _dropout_seed(seed: int, step: int, rank: int) -> int:
    """Depends on nothing but the step, so that a resumed run draws the same."""
    return int(SeedSequence([seed, step, rank]).generate_state(1)[0])


def _about_ten(steps: int, accumulation: int) -> int:
    """Checkpoint interval that saves about ten times, at optimizer steps."""
    return max(1, steps // (10 * accumulation)) * accumulation


def _load_prepared_tokenizer(prepared: Prepared) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        storage.download(prepared.tokenizer_folder, Path(folder))
        return AutoTokenizer.from_pretrained(folder)


def _metrics(
    step: int, lr: float, stats: SourceStats, names: tuple[str, ...], seconds: float, waited: float
) -> dict[str, Any]:
    def finite(values: Any) -> Any:
        return np.where(np.isfinite(values), values, None).tolist()  # JSON has no NaN

    def by_name(values: Any) -> dict[str, float | None]:
        return dict(zip(names, finite(values), strict=True))

    return {
        "step": step,
        "time": time.time(),
        "loss": finite(stats.loss),
        "source_loss": by_name(stats.loss_K),
        "source_accuracy": by_name(stats.accuracy_K),
        "lam": by_name(stats.lam_K),
        "grad_norm": by_name(stats.grad_norm_K),
        "cosine": finite(stats.cosine_KK),
        "lr": lr,
        "pairs_per_s": stats.count_K.sum() / seconds,
        "tokens_per_s": stats.tokens_K.sum() / seconds,
        "seconds": seconds,
        "data_wait_seconds": waited,
    }


def _evaluate(engine: deepspeed.DeepSpeedEngine, job: Job, done: int, device: torch.device) -> None:
    """Write `eval.json` and what it is made from, for the model after `done` micro-steps."""
    if engine.global_rank == 0:
        job.run_log.phase.remote("evaluating")
    tokens = job.config.train.eval_tokens or SCORING_TOKENS[device.type]
    pairs = EvaluationPairs(job.prepared, tokens)
    value_N2 = run_test_pairs(engine, pairs, device)
    if engine.global_rank == 0:
        result = _write_evaluation(job.config, pairs, value_N2, done)
        write_evaluation(job.config.output_dir, result)
        job.run_log.evaluated.remote(result)


def _write_evaluation(
    config: RunConfig, pairs: EvaluationPairs, value_N2: np.ndarray, done: int
) -> dict[str, Any]:
    scheme, seed = config.objective.scheme, config.train.seed
    if config.objective.loss == "sft":
        likelihoods = pairs.likelihoods(value_N2[:, 0])
        write_likelihoods(likelihoods, config.output_dir)
        return summarise_likelihoods(likelihoods, scheme, done, seed)
    scores = pairs.scores(value_N2)
    write_scores(scores, config.output_dir)
    return summarise(scores, scheme, done, seed)


def _export(engine: deepspeed.DeepSpeedEngine, job: Job, tokenizer: Any) -> None:
    weights = gather_weights(engine)
    if weights is None:
        return
    job.run_log.phase.remote("writing the model")
    with tempfile.TemporaryDirectory() as folder:
        export(engine.module.trained, weights, job.config.model.lora, tokenizer, Path(folder))
        storage.upload(Path(folder), model_of(job.config.output_dir), last="config.json")
