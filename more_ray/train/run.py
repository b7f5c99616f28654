"""A whole run, seen from the driver: prepare, train on Ray Train, return the evaluation."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from more_ray import storage
from more_ray.bars import RunProgress
from more_ray.calibrate.trunk import trunk_tokenizer
from more_ray.cluster import uses_gpu, worker_environment
from more_ray.config import RunConfig
from more_ray.config.base import dump
from more_ray.data.mixture import Mixture
from more_ray.data.names import chosen_names
from more_ray.data.prepare import prepare
from more_ray.data.prepared import Prepared
from more_ray.device import begun_on_gpu
from more_ray.environment import environment
from more_ray.errors import UserError, last_line
from more_ray.metrics.evaluation import Evaluation
from more_ray.metrics.shown_names import run_name
from more_ray.model.card import write_card
from more_ray.model.loading import check_model
from more_ray.model.tokenizer import training_tokenizer
from more_ray.objective.losses import LOSSES
from more_ray.run_folder import (
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    check_same,
    evaluation_of,
    has_card,
    holds_model,
    is_evaluated,
    model_of,
)
from more_ray.train import checkpoint_record
from more_ray.train.checks import (
    check_batch,
    check_inputs,
    check_pairs,
    check_settings,
    doubts,
    inputs_of,
)
from more_ray.train.follow import followed
from more_ray.train.job import Job
from more_ray.train.run_log import start_run_log
from more_ray.train.start import train_loop
from more_ray.train.training_data import TrainingData


def run(
    config: RunConfig,
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
    quiet: bool = False,
    made_with: dict[str, Any] | None = None,
) -> Evaluation:
    """Train as `config` says and return its evaluation (the content of `eval.json`).

    A run whose folder holds checkpoints of the same config resumes from the newest; a finished run
    returns at once.

    Args:
        on_evaluation: called in another thread with each evaluation during training
            (`train.eval_every`).
        quiet: show no progress.
        made_with: the content of `environment.json`, where the user started another process.

    Raises:
        DataError, ModelError: the inputs cannot be used.
        UserError: the folder belongs to another run, or training failed for good.
    """
    config = config.changed(output_dir=storage.absolute(config.output_dir))
    config = with_initial_model(config)
    check_same(_config_path(config), "a run", config, RunConfig)
    check_settings(config)
    with RunProgress(_title(config), quiet) as progress:
        progress.phase("preparing data")
        frozen = config.model.trunk == "frozen"
        prepared = prepare_data(config, progress.prepared)
        for note in doubts(config, prepared):
            progress.note(note)
        mixture = _mixture(config, prepared)
        steps = _steps(config, mixture)
        pairs = _pairs(prepared, mixture)
        check_pairs(config.output_dir, pairs)
        inputs = inputs_of(config, prepared)
        check_inputs(config, inputs)
        check_batch(config, mixture)
        finished = _finished(config, steps)
        if finished:
            progress.note(f"{config.output_dir} is finished: nothing to train")
            if not has_card(model_of(config.output_dir)):
                write_card(config)
            return finished

        use_gpu = not frozen and _use_gpu(config)
        storage.write_text(_config_path(config), dump(config))
        storage.write_json(
            _environment_path(config),
            {**(made_with or environment()), **pairs, **inputs},
        )
        if frozen:
            from more_ray.train.frozen import train_frozen  # imports torch and DeepSpeed

            result = train_frozen(config, prepared, mixture, steps, progress)
            write_card(config)
            return result
        run_log = start_run_log(config.output_dir, config)
        if done := checkpoint_record.steps_done(config.output_dir):
            progress.note(f"goes on after step {done} of {steps}")
        progress.phase("starting workers")
        with followed(run_log, progress, steps, on_evaluation):
            _fit(Job(_as_workers_find_it(config), prepared, mixture, steps, run_log), use_gpu)
        stopped = ray.get(run_log.state.remote())["stopped"]
        ray.get(run_log.close.remote())
        ray.kill(run_log)
    if stopped:
        raise UserError(f"training stopped: {stopped}")
    write_card(config)
    return evaluation_of(config.output_dir)


def prepare_data(
    config: RunConfig, progress: Callable[[int], None] = lambda pairs: None
) -> Prepared:
    """Check the model, as far as that needs no weights, and prepare the data of a run.

    Raises:
        DataError, ModelError: the inputs cannot be used.
    """
    loss, length = LOSSES[config.objective.loss], config.data.max_length
    if config.model.trunk == "frozen":
        tokenizer = trunk_tokenizer(config.model, length)
    else:
        check_model(config.model, length, loss.trains_policy, config.train.zero_stage == 3)
        tokenizer = training_tokenizer(config.model, length)
    soft = config.objective.labels == "soft"
    return prepare(config.data, tokenizer, progress, not loss.needs_pairs, soft=soft)


def with_initial_model(config: RunConfig) -> RunConfig:
    """`config` that starts from the model of the run `init_from`, with all its blocks.

    Raises:
        UserError: there is no such model.
    """
    if not config.init_from:
        return config
    run = storage.absolute(config.init_from)
    if "://" in run:
        raise UserError(f"init_from: {config.init_from} given; a local path is allowed, no URI")
    if not holds_model(run):
        raise UserError(f"init_from: {config.init_from} holds no trained model")
    model = config.model.changed(path=model_of(run), layers=None)
    return config.changed(model=model)


def _title(config: RunConfig) -> str:
    title = LOSSES[config.objective.loss].title
    untrained = config.train.max_steps == 0
    on = config.data.train_on
    return title or run_name(config.objective.scheme, on, config.model.heads, untrained)


def _as_workers_find_it(config: RunConfig) -> RunConfig:
    """`config` for Ray Train's workers, which run in a folder of their own."""
    path = config.model.path
    if not Path(path).exists():
        return config
    return config.changed(model=config.model.changed(path=storage.absolute(path)))


def _mixture(config: RunConfig, prepared: Prepared) -> Mixture:
    """The training pairs of the sources that `data.train_on` names, or of all."""
    sizes = dict(zip(prepared.names, prepared.sizes("train"), strict=True))
    names = chosen_names(config.data, prepared.names)
    train = config.train
    together = not LOSSES[config.objective.loss].trains_policy  # its losses need pair after pair
    return Mixture(
        names,
        tuple(sizes[name] for name in names),
        train.pairs_per_source,
        train.epochs,
        config.data.resample,
        train.seed,
        tuple(prepared.first_rows(name) for name in names) if together else (),
    )


def _steps(config: RunConfig, mixture: Mixture) -> int:
    """Micro-batches of the run, rounded up so that the last accumulation is complete."""
    limit = config.train.max_steps
    steps = mixture.steps if limit is None else min(limit, mixture.steps)
    return -(-steps // config.train.accumulation) * config.train.accumulation


def _config_path(config: RunConfig) -> str:
    return storage.join(config.output_dir, CONFIG)


def _environment_path(config: RunConfig) -> str:
    return storage.join(config.output_dir, ENVIRONMENT)


def _pairs(prepared: Prepared, mixture: Mixture) -> dict[str, dict[str, int]]:
    """Numbers of pairs, by kind and source; of records, too, where some rank several answers."""
    pairs = {
        kind: dict(zip(prepared.names, prepared.sizes(split), strict=True))
        for kind, split in (("training_pairs", "train"), ("test_pairs", "test"))
    }
    if mixture.ranked:
        pairs["training_records"] = dict(zip(mixture.names, mixture.records, strict=True))
    return pairs


def _finished(config: RunConfig, steps: int) -> Evaluation | None:
    folder = config.output_dir
    if holds_model(folder) and is_evaluated(folder):
        evaluation = evaluation_of(folder)
        if evaluation["step"] == steps:
            return evaluation
    return None


def _use_gpu(config: RunConfig) -> bool:
    wanted, workers = config.train.use_gpu, config.train.min_workers or config.train.workers
    available = uses_gpu(wanted, workers)
    return begun_on_gpu(config.output_dir, "train.use_gpu", wanted, available)


def _fit(job: Job, use_gpu: bool) -> None:
    config = job.config
    train = config.train
    # A stopped process answers no health check; a hung one keeps the others waiting for lam.
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(train.stall_timeout)
    # By default Ray Train notices the end of a run, or a dead worker, after up to 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.25")
    checkpoint_record.mend(config.output_dir)
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"job": job},
        torch_config=TorchConfig(timeout_s=train.stall_timeout),
        datasets={"train": ray.data.range(0)},
        dataset_config=TrainingData(config.output_dir, job.prepared, job.mixture, job.steps),
        scaling_config=ray.train.ScalingConfig(
            num_workers=(train.min_workers, train.workers) if train.min_workers else train.workers,
            use_gpu=use_gpu,
            elastic_resize_monitor_interval_s=train.grow_after,
        ),
        run_config=ray.train.RunConfig(
            name=CHECKPOINTS,
            storage_path=config.output_dir,
            worker_runtime_env={"env_vars": worker_environment(use_gpu)},
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=train.keep_checkpoints),
            failure_config=ray.train.FailureConfig(max_failures=train.max_failures),
        ),
    )
    before = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise UserError(f"training failed: {_cause(error)}") from error
    except SystemExit:
        raise KeyboardInterrupt from None  # so Ray Train ends after Ctrl-C
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)  # Ray Train's own would stay


def _cause(error: BaseException) -> str:
    """The last line of the worker's own error, from Ray's report around it."""
    if "running low on memory" in str(error):
        return (
            "a node ran out of memory; train.pairs_per_source with train.accumulation, "
            "train.gradient_checkpointing and train.zero_stage reduce what a step needs"
        )
    return last_line(error)
