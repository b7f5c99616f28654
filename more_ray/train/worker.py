"""The training loop of each worker, the same for every task."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import deepspeed
import pyarrow as pa
import ray
import ray.train
import ray.train.torch
import torch
from numpy.random import SeedSequence
from transformers import PreTrainedTokenizerBase

from more_ray import storage
from more_ray.device import SCORING_TOKENS, use_threads
from more_ray.evaluate.on_workers import run_test_pairs
from more_ray.evaluate.pairs import EvaluationPairs
from more_ray.model.compilation import compile_blocks
from more_ray.model.tokenizer import prepared_tokenizer
from more_ray.objective.schemes import make_weighting
from more_ray.run_folder import model_of, write_evaluation
from more_ray.train import checkpoint
from more_ray.train.batches import batches, on_device
from more_ray.train.engine import gather_weights, init_distributed, make_engine
from more_ray.train.exchange import of_first_rank
from more_ray.train.job import Job
from more_ray.train.metrics_line import metrics_line
from more_ray.train.precision import kept_dtype
from more_ray.train.preemption import Announcements, leave
from more_ray.train.skips import Skips
from more_ray.train.step import micro_step, whole_batch_step
from more_ray.train.tasks import Task, task_of


def train(job: Job, wait_for_stream: Callable[[], Iterator[pa.Table]]) -> None:
    """Train, checkpoint, evaluate, export."""
    settings = job.config.train
    context = ray.train.get_context()
    rank = context.get_world_rank()
    device = ray.train.torch.get_device()
    use_threads(context.get_local_world_size(), settings.threads)
    init_distributed(settings.stall_timeout)

    tokenizer = prepared_tokenizer(job.prepared)
    dtype = of_first_rank(lambda: kept_dtype(job.config, device))
    names = job.mixture.names
    task = task_of(job.config, names)
    model = task.load_model(tokenizer, dtype, device)
    if settings.gradient_checkpointing:
        model.trained.gradient_checkpointing_enable({"use_reentrant": False})
    if settings.compile:
        compile_blocks(model.trained)
    weighting = make_weighting(job.config.objective, names, job.mixture.sizes)
    with checkpoint.newest(job.config.output_dir) as saved:
        engine = make_engine(model, job.config, dtype, job.steps, saved.universal)
        first = checkpoint.load(engine, weighting, saved)
    engine.train()
    if rank == 0:
        ray.get(job.run_log.resume.remote(first, context.get_world_size()))
    every = settings.checkpoint_every or _about_ten(job.steps, settings.accumulation)

    scope, losses = job.config.objective.scope, task.losses()
    stride = settings.accumulation if scope == "batch" else 1
    skips = Skips(engine, names)
    announcements = Announcements(settings.stall_timeout)
    stream = on_device(batches(wait_for_stream(), rank, first, job.steps), device)
    for step in range(first, job.steps, stride):
        started = time.perf_counter()
        micro_batches = [next(stream) for _ in range(stride)]
        waited = time.perf_counter() - started
        lr = engine.get_lr()[0]
        seeds = [_dropout_seed(settings.seed, step + offset, rank) for offset in range(stride)]
        if scope == "batch":
            stats = whole_batch_step(engine, micro_batches, seeds, weighting, losses)
        else:
            torch.manual_seed(seeds[0])
            stats = micro_step(engine, micro_batches[0], weighting, scope, losses)
        done = step + stride
        skipped = skips.look(stats)
        if stats is not None:
            seconds = time.perf_counter() - started
            line = metrics_line(done - 1, lr, stats, names, seconds, waited, skipped)
            job.run_log.log.remote(line)
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
            _evaluate(engine, task, job, done, device)
        if leaving and done < job.steps:
            leave()
    _evaluate(engine, task, job, job.steps, device)
    _export(engine, task, job, tokenizer)


def _dropout_seed(seed: int, step: int, rank: int) -> int:
    """Depends only on seed, step and rank, so that a resumed run draws the same dropout."""
    return int(SeedSequence([seed, step, rank]).generate_state(1)[0])


def _about_ten(steps: int, accumulation: int) -> int:
    """A checkpoint interval, in micro-steps, that saves about ten times, at optimizer steps."""
    return max(1, steps // (10 * accumulation)) * accumulation


def _evaluate(
    engine: deepspeed.DeepSpeedEngine, task: Task, job: Job, done: int, device: torch.device
) -> None:
    """Write `eval.json` and the scores behind it, for the model after `done` micro-steps."""
    if engine.global_rank == 0:
        job.run_log.phase.remote("evaluating")
    tokens = job.config.train.eval_tokens or SCORING_TOKENS[device.type]
    pairs = EvaluationPairs(job.prepared, tokens)
    value_NC = run_test_pairs(engine, pairs, device)
    if engine.global_rank == 0:
        result = task.evaluate(pairs, value_NC, done)
        write_evaluation(job.config.output_dir, result)
        job.run_log.evaluated.remote(result)


def _export(
    engine: deepspeed.DeepSpeedEngine, task: Task, job: Job, tokenizer: PreTrainedTokenizerBase
) -> None:
    weights = gather_weights(engine)
    if weights is None:
        return
    job.run_log.phase.remote("writing the model")
    with storage.uploading(model_of(job.config.output_dir), last="config.json") as folder:
        task.export(engine.module.trained, weights, tokenizer, folder)
