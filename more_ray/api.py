"""The verbs as functions: what jobs, the console script and notebooks call.

Each takes a YAML file (or a ready one by its name), a dict, a config or nothing, and sections or
values that override it, by name or dotted key: `train("my.yaml", data={"root": "data"},
**{"optimizer.lr": 1e-4})`.
Verbs that need Ray use the Ray of this process, join the cluster of `RAY_ADDRESS`, or start a local
cluster. Mistakes that the user can fix raise `UserError`; those in settings, before Ray starts.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from more_ray import config as configs
from more_ray.config.base import Tree, dump
from more_ray.config.reading import ConfigT, settings
from more_ray.errors import UserError
from more_ray.results import Page, Trained

if TYPE_CHECKING:
    import pandas as pd

    from more_ray.calibrate.loaded import LoadedModel
    from more_ray.data.prepared import Prepared
    from more_ray.metrics.evaluation import Evaluation

Given = str | Path | Tree | ConfigT | None
"""A YAML file, a dict, a config, or nothing."""


def train(config: Given[configs.PairsRunConfig] = None, /, **changes: Any) -> Trained:
    """Train a reward model on several preference sources, evaluate it, and write its page.

    Raises:
        UserError: the settings or the data cannot be used, or training failed.
    """
    run = _checked(configs.PairsRunConfig, config, changes)
    from more_ray.cluster import session

    with session(run.train.workers, run.log.verbose):
        from more_ray import storage
        from more_ray.report.models import read_models
        from more_ray.report.run_page import write_report
        from more_ray.run_folder import REPORT, model_of
        from more_ray.train.comparison import train_all

        folders = train_all(run)
        models = read_models(folders)
        page = storage.join(run.output_dir, REPORT)
        write_report(models, page)
    evaluations = {model.name: model.evaluation for model in models}
    return Trained(run.output_dir, model_of(folders[0]), page, evaluations)


def prepare(config: Given[configs.RunConfig] = None, /, **changes: Any) -> Prepared:
    """Read, check, tokenise and shuffle the data of a run; training does so itself when needed.

    Raises:
        UserError: the settings or the data cannot be used.
    """
    run = _checked(configs.RunConfig, config, changes)
    from more_ray.cluster import session

    with session(1, run.log.verbose):
        from more_ray.bars import RunProgress
        from more_ray.train.run import prepare_data, with_initial_model

        with RunProgress("prepare") as progress:
            return prepare_data(with_initial_model(run), progress.prepared)


def load(
    model: str | Path | Trained,
    *,
    device: str | None = None,
    max_length: int | None = None,
    **changes: Any,
) -> LoadedModel:
    """A reward model that scores answers in this process, as training and the service do.

    Of a model with several heads, `score(..., source="helpful")` gives the rewards of a source.

    Args:
        model: a run's folder or its model folder, any folder or hub name of a sequence classifier
            or of an adapter with a reward head, or the result of `train`.
        device: "cpu" or "cuda"; unset, a GPU where there is one.
        max_length: tokens of a prompt and its answer; unset, as in its training.
        changes: further settings of a `ModelConfig`, such as `revision`.

    Raises:
        UserError: there is no such model, or the settings cannot be used.
    """
    from more_ray.run_folder import model_at

    path = model.model if isinstance(model, Trained) else model_at(str(model))
    config = settings(configs.ModelConfig, None, {**changes, "path": path})
    from more_ray.paths import check_model

    check_model(config)
    import torch

    from more_ray.calibrate.loaded import LoadedModel
    from more_ray.model.loading import check_reward_model

    check_reward_model(config, max_length)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return LoadedModel(config, max_length, device)


def evaluate(config: Given[configs.EvaluationConfig] = None, /, **changes: Any) -> Evaluation:
    """Score test pairs with any reward model; returns the content of `eval.json`.

    Raises:
        UserError: the settings, the model or the data cannot be used.
    """
    evaluation = _checked(configs.EvaluationConfig, config, changes)
    from more_ray.cluster import session

    with session(evaluation.workers, evaluation.verbose):
        from more_ray.bars import RunProgress
        from more_ray.evaluate.run import evaluate

        with RunProgress("evaluate") as progress:
            return evaluate(evaluation, progress.prepared, progress.scored, progress.answered)


def calibrate(config: Given[configs.CalibrationConfig] = None, /, **changes: Any) -> Evaluation:
    """Fit the last layer to every population: a shared reward and a drift for each source (4).

    Returns:
        The content of `eval.json`.

    Raises:
        UserError: the settings, the model or the data cannot be used.
    """
    calibration = _checked(configs.CalibrationConfig, config, changes)
    from more_ray.cluster import session

    with session(calibration.workers, calibration.verbose):
        from more_ray import storage
        from more_ray.bars import RunProgress
        from more_ray.calibrate.run import Progress, calibrate
        from more_ray.report.models import read_models
        from more_ray.report.run_page import write_report
        from more_ray.run_folder import REPORT

        with RunProgress("calibrate") as bar:
            result = calibrate(calibration, Progress(bar.prepared, bar.scored, bar.phase))
        folder = calibration.output_dir
        write_report(read_models([folder]), storage.join(folder, REPORT))
    return result


def sweep(config: Given[configs.SweepConfig] = None, /, **changes: Any) -> pd.DataFrame:
    """Try settings on Ray Tune; returns the configurations, the best first.

    The table's `attrs["failed"]` says which trials failed for good, and why.

    Raises:
        UserError: the settings or the data cannot be used, or every trial failed.
    """
    chosen = settings(configs.SweepConfig, config, changes)
    from more_ray.paths import check_folders, check_paths

    check_folders(chosen)
    if not {"data", "model"} & {key.partition(".")[0] for key in chosen.space}:
        check_paths(chosen)
    from more_ray.cluster import session

    workers = chosen.run.train.workers * chosen.at_once(os.cpu_count() or 1)
    with session(workers, chosen.verbose):
        from more_ray.report.sweep_page import write_results
        from more_ray.sweep.run import run_sweep

        failed = run_sweep(chosen)
        ranked = write_results(chosen, failed)
    ranked.attrs["failed"] = failed
    return ranked


def serve(
    config: Given[configs.ServeConfig] = None, /, **changes: Any
) -> AbstractContextManager[str]:
    """Serve a reward model over HTTP while a `with` block runs; gives its address.

    Raises:
        UserError: the settings or the model cannot be used, or the port is taken.
    """
    service = _checked(configs.ServeConfig, config, changes)
    from more_ray.serve.port import check_port

    check_port(service)
    return _served(service)


@contextmanager
def _served(config: configs.ServeConfig) -> Iterator[str]:
    from more_ray.cluster import session

    with session(config.max_replicas, config.verbose):
        from more_ray.serve.app import serving

        with serving(config) as url:
            yield url


def sample(
    config: Given[configs.RejectionSamplingConfig] = None, /, **changes: Any
) -> dict[str, Any]:
    """Sample answers of a policy, score them, keep the best answer to each prompt.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: the settings, the prompts or the models cannot be used.
    """
    sampling = _checked(configs.RejectionSamplingConfig, config, changes)
    from more_ray.cluster import session, shared_gpus

    with session(sampling.workers, sampling.verbose):
        from more_ray import storage
        from more_ray.bars import SamplingProgress
        from more_ray.report.sample_page import render_page
        from more_ray.run_folder import REPORT
        from more_ray.sample.run import check_inputs, sample_and_select
        from more_ray.sample.service_scoring import score_by_service
        from more_ray.serve.app import scoring

        check_inputs(sampling)
        verb = "score" if sampling.samples_from else "sample"
        gpus = shared_gpus(sampling.use_gpu, 0 if sampling.samples_from else sampling.workers)
        with (
            SamplingProgress(verb) as progress,
            scoring(sampling.reward, sampling.output_dir, gpus) as app,
        ):
            summary = sample_and_select(sampling, partial(score_by_service, app), progress.show)
    page = render_page(summary, dump(sampling))
    storage.write_text(storage.join(sampling.output_dir, REPORT), page)
    return summary


def finetune(config: Given[configs.FineTuneConfig] = None, /, **changes: Any) -> Evaluation:
    """Fine-tune a language model on answers; returns the content of `eval.json`.

    Raises:
        UserError: the settings or the data cannot be used, or training failed.
    """
    tuning = _checked(configs.FineTuneConfig, config, changes)
    from more_ray.cluster import session

    with session(tuning.train.workers, tuning.log.verbose):
        from more_ray.train.run import run

        return run(tuning)


def judge(config: Given[configs.JudgeConfig] = None, /, **changes: Any) -> dict[str, Any] | None:
    """Ask a judge which of two models answers better; returns the content of `judge.json`.

    With `estimate_only` nothing is asked; prints the estimate and returns None.

    Raises:
        UserError: the settings or the files cannot be used, or the judge cannot be asked.
    """
    asked = _checked(configs.JudgeConfig, config, changes)
    _check_openai()
    from more_ray.bars import console, judging
    from more_ray.judge.cache import AnswerCache
    from more_ray.judge.run import estimate, judge, make_plan

    with AnswerCache(asked.cache) as cache:
        plan = make_plan(asked, cache)
        text = (
            f"{len(plan.pairs):,} pairs, {len(plan.todo):,} requests, {plan.cached:,} more in the "
            f"cache: {estimate(asked, plan)}"
        )
        if plan.unmatched:
            text += f"\nLeft out: {plan.unmatched:,} rows that only one of the files has"
        if asked.estimate_only:
            console.print(text, soft_wrap=True, highlight=False)
            return None
        with judging(text, len(plan.todo)) as on_answer:
            return judge(asked, plan, cache, on_answer)


def align(config: Given[configs.AlignConfig] = None, /, **changes: Any) -> dict[str, Any]:
    """From preferences to aligned policies: reward models, best samples, fine-tuning, a judge.

    Returns:
        The content of `align.json`.

    Raises:
        UserError: the settings cannot be used, or a stage failed; finished work is kept.
    """
    chain = _checked(configs.AlignConfig, config, changes)
    if chain.judge:
        _check_openai()
        from more_ray.endpoint import api_key

        api_key(chain.judge.api_key_env)  # or hours pass until the judge is asked
    from more_ray.cluster import session

    with session(chain.reward.train.workers, chain.reward.log.verbose):
        from more_ray import storage
        from more_ray.align.chain import align
        from more_ray.bars import console, judging
        from more_ray.report.align_page import render_page
        from more_ray.run_folder import REPORT

        result = align(chain, console.rule, judging)
        page = render_page(result, dump(chain))
        storage.write_text(storage.join(chain.output_dir, REPORT), page)
    return result


def report(config: Given[configs.ReportConfig] = None, /, **changes: Any) -> Page:
    """Make one page about runs and evaluations.

    Raises:
        UserError: the settings or the folders cannot be used.
    """
    about = settings(configs.ReportConfig, config, changes)
    from more_ray.paths import check_file

    check_file("output", about.output)
    from more_ray.report.models import read_models
    from more_ray.report.run_page import write_report

    models = read_models(about.runs)
    write_report(models, about.output)
    return Page(about.output, {model.name: model.evaluation for model in models})


def _checked(kind: type[ConfigT], given: Given[ConfigT], changes: Tree) -> ConfigT:
    """Settings whose files and folders are there."""
    config = settings(kind, given, changes)
    from more_ray.paths import check_folders, check_paths

    check_folders(config)
    check_paths(config)
    return config


def _check_openai() -> None:
    if importlib.util.find_spec("openai") is None:
        raise UserError("judge: pip install openai first")
