"""A sweep on Ray Tune: trials side by side; after a kill it resumes with those that are left."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timezone

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from more_ray import storage
from more_ray.cluster import cluster_address, uses_gpu
from more_ray.config.base import dump
from more_ray.config.sweep import SweepConfig
from more_ray.environment import environment
from more_ray.errors import UserError, last_line
from more_ray.metrics.measures import MEASURES
from more_ray.run_folder import check_same, evaluation_of
from more_ray.sweep.inputs import check_ended, known, make_known
from more_ray.sweep.progress import TrialFollower
from more_ray.sweep.space import Point, decoded, points, tune_space
from more_ray.sweep.trial import DESCRIPTION, is_over, run_trial, trial_folder

DRIVER_CPUS = 0.01
"""CPUs of the trial itself: it only waits for its workers. Tune does not accept 0."""
DATA_CPUS = 1
"""CPUs for the data tasks of trials, which ask for parts of a CPU."""


def run_sweep(config: SweepConfig) -> dict[str, str]:
    """Run all trials, or after a kill those that are left.

    Finished trials are kept, others resume from their checkpoints, and failed trials are tried
    again; only Optuna replaces them with new points.

    Returns:
        The trials that failed for good: the reason, by the trial's values.

    Raises:
        DataError, ModelError: the inputs cannot be used.
        UserError: the folder belongs to another sweep, the cluster is too small, or every trial
            failed.
    """
    config = config.changed(output_dir=storage.absolute(config.output_dir))
    check_same(_config_path(config), "a sweep", config)
    # Trials start where the job does, so that relative paths of data and models hold.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    concurrent = _concurrent(config)
    if config.search == "optuna":
        total, seen = config.trials, _seen(config)
        space, search, samples = tune_space(config), _optuna(config, seen), total - len(seen)
        ended = [point for point, _ in seen]
        make_known(config, known(config))
    else:
        every = points(config)
        ended = [point for point in every if is_over(trial_folder(config, point))]
        waiting = [point for point in every if point not in ended]
        total, space, search, samples = len(every), tune.grid_search(waiting), None, 1
        make_known(config, waiting)
    check_ended(config, ended)
    storage.write_text(_config_path(config), dump(config))
    done = len(ended)
    if done >= total:
        return {}
    with TrialFollower.shown(total, done) as follower:
        results = tune.Tuner(
            tune.with_resources(_trainable(config, concurrent), {"CPU": DRIVER_CPUS}),
            param_space={"point": space},
            tune_config=tune.TuneConfig(
                metric=config.metric,
                mode=MEASURES[config.metric].better,
                num_samples=samples,
                max_concurrent_trials=concurrent,
                search_alg=search,
                scheduler=_early_stopping(config) if config.early_stopping else None,
            ),
            run_config=tune.RunConfig(
                name=datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S"),
                storage_path=storage.join(config.output_dir, "tune"),
                failure_config=tune.FailureConfig(max_failures=config.max_failures),
                callbacks=[follower],
                verbose=0,
            ),
        ).fit()
    failed = {
        said(result.config["point"]): last_line(result.error) for result in results if result.error
    }
    if len(failed) == total:
        raise UserError(f"every trial failed, the first with: {next(iter(failed.values()))}")
    return failed


def said(point: Point) -> str:
    """The values of a point as text."""
    return ", ".join(f"{key}={value}" for key, value in decoded(point).items())


def _trainable(config: SweepConfig, concurrent: int) -> Callable[[Point], None]:
    made_with = environment()
    threads = None
    if _is_local():
        threads = max(1, _cores() // (concurrent * config.run.train.workers))

    def trial(drawn: Point) -> None:
        run_trial(drawn["point"], config, threads, made_with)

    return trial


def _config_path(config: SweepConfig) -> str:
    return storage.join(config.output_dir, "sweep.yaml")


def _is_local() -> bool:
    return cluster_address() is None


def _cores() -> int:
    return os.cpu_count() or 1


def _concurrent(config: SweepConfig) -> int:
    """Trials at a time; raises UserError where the cluster has no room for them."""
    workers = config.run.train.workers
    gpus = uses_gpu(config.run.train.use_gpu, workers)
    kind = "GPU" if gpus else "CPU"
    have = int(ray.cluster_resources().get(kind, 0))
    for_data = 0 if gpus else DATA_CPUS
    wanted = config.concurrent or 1
    if wanted * workers + for_data > have:
        raise UserError(
            f"concurrent: {wanted} at a time with train.workers={workers} need "
            f"{wanted * workers + for_data} {kind}s; the cluster has {have}"
        )
    if _is_local() and not gpus:
        return config.at_once(_cores())
    return config.concurrent or (have - for_data) // workers


def _early_stopping(config: SweepConfig) -> ASHAScheduler:
    every = config.run.train.eval_every
    return ASHAScheduler(time_attr="step", grace_period=every, reduction_factor=3, max_t=10**9)


def _seen(config: SweepConfig) -> list[tuple[Point, float]]:
    """The points of finished trials, each with its value of the metric."""
    return [
        (trial["point"], evaluation["mean"][config.metric])
        for folder in storage.folders(storage.join(config.output_dir, "trials"))
        if is_over(folder)
        for trial in [storage.read_json(storage.join(folder, DESCRIPTION))]
        for evaluation in [evaluation_of(folder)]
    ]


def _optuna(config: SweepConfig, seen: list[tuple[Point, float]]) -> Searcher:
    try:
        from ray.tune.search.optuna import OptunaSearch

        return OptunaSearch(
            points_to_evaluate=[
                {f"point/{key}": value for key, value in point.items()} for point, _ in seen
            ]
            or None,
            evaluated_rewards=[value for _, value in seen] or None,
            # Another seed after a restart; the same seed would draw the same points again.
            seed=config.seed + len(seen),
        )
    except (ImportError, AssertionError) as error:
        raise UserError("search: pip install optuna first") from error
