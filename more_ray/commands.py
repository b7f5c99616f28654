"""The verbs of the command line: the settings of each, and what it prints at the end.

`more-ray VERB` and the scripts in `jobs/` run the same code; the docstrings here are the help of
`more-ray VERB`.
"""

from __future__ import annotations

import inspect
import signal
import sys
import threading
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from more_ray import api
from more_ray import config as configs
from more_ray.cli import HELP, load_config, refuse, user_errors
from more_ray.config.reading import READY
from more_ray.errors import UserError


def main() -> None:
    """`more-ray VERB [--config FILE] [dotted.key=value ...]`; alone, it lists the verbs."""
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in HELP:
        print("usage: more-ray VERB [--config FILE] [dotted.key=value ...]\n")
        for name, (_, command) in VERBS.items():
            sentence, _, _ = _help(command).partition("\n\n")
            print(f"{name:9} {' '.join(sentence.split())}")
        print("\nmore-ray VERB --help lists every key of a verb, with its meaning and default.")
    elif verb not in VERBS:
        near = get_close_matches(verb, VERBS, 1, cutoff=0)
        refuse(UserError(f"{verb}: unknown verb, nearest known verb: {near[0]}"))
    else:
        _run(verb, arguments, _help(VERBS[verb][1]), f"more-ray {verb}")


def job(verb: str, description: str) -> None:
    """Run a script of `jobs/`, which does the same as `more-ray VERB`.

    Args:
        description: the start of its help.
    """
    _run(verb, sys.argv[1:], description, f"python {sys.argv[0]}")


def _run(verb: str, arguments: list[str], description: str, program: str) -> None:
    model, command = VERBS[verb]
    given = [*BEGINS_WITH.get(verb, []), *arguments]
    with user_errors():
        command(load_config(model, given, description, program))


def _help(command: Callable[..., None]) -> str:
    return f"{inspect.getdoc(command)}\n"


def demo(config: configs.PairsRunConfig) -> None:
    """Train two small models on the built-in simulator in a few minutes, without a network.

    It is `more-ray train --config quickstart`: the same keys, over the values of that file.
    """
    train(config)


def train(config: configs.PairsRunConfig) -> None:
    """Train a MORE reward model on several preference sources.

    more-ray train data.root=FOLDER model.path=HuggingFaceTB/SmolLM2-135M-Instruct optimizer.lr=5e-5
    """
    result = api.train(config)
    from more_ray.bars import console
    from more_ray.terminal import evaluation_tables

    console.print(*evaluation_tables(result.evaluations))
    console.print(f"Results in {result.folder}, with figures in {result.report}")


def prepare(config: configs.RunConfig) -> None:
    """Read, check, tokenise and shuffle preference data; training does it by itself when needed.

    more-ray prepare data.root=FOLDER model.path=HuggingFaceTB/SmolLM2-135M-Instruct
    """
    prepared = api.prepare(config)
    from more_ray.bars import console
    from more_ray.terminal import prepared_tables

    console.print(*prepared_tables(prepared))
    console.print(f"Prepared data in {prepared.folder}, each reject in its rejects.jsonl")


def evaluate(config: configs.EvaluationConfig) -> None:
    """Score test pairs with any reward model: accuracy and calibration, with intervals.

    more-ray evaluate model.path=outputs/mine/model data.root=FOLDER against=outputs/other
    more-ray evaluate model.path=outputs/mine/model 'benchmark=[llmbar.parquet,rm_bench.json]'
    """
    result = api.evaluate(config)
    from more_ray.bars import console
    from more_ray.metrics.shown_names import shown_name
    from more_ray.terminal import (
        benchmark_tables,
        calibration_table,
        differences_table,
        results_table,
    )

    named = {shown_name(result["scheme"]): result}
    if result["sources"]:
        console.print(results_table(named))
        console.print(calibration_table(result))
    if "against" in result:
        console.print(differences_table(result))
    if tables := benchmark_tables(named):
        console.print(*tables)
    console.print(f"Results in {config.output_dir}")


def calibrate(config: configs.CalibrationConfig) -> None:
    """Fit the last layer of any reward model, or of a language model, to every population.

    more-ray calibrate model.path=HuggingFaceTB/SmolLM2-135M-Instruct data.root=FOLDER
    """
    result = api.calibrate(config)
    from more_ray.bars import console
    from more_ray.metrics.evaluation import by_head
    from more_ray.run_folder import REPORT
    from more_ray.terminal import differences_table, heads_table, results_table

    console.print(results_table({"own head": result, "shared head": result["shared"]}))
    console.print(heads_table(by_head(result)))
    if "against" in result:
        console.print(differences_table(result, means_only=True))
    console.print(f"Results in {config.output_dir}, with figures in {config.output_dir}/{REPORT}")


def sweep(config: configs.SweepConfig) -> None:
    """Try learning rates, schemes, seeds and combinations of sources; ECE versus K.

    more-ray sweep run.data.root=FOLDER 'space={optimizer.lr: [1e-5, 1e-4]}' concurrent=2
    """
    ranked = api.sweep(config)
    from rich.text import Text

    from more_ray.bars import console
    from more_ray.terminal import ranking_table

    console.print(ranking_table(ranked))
    for trial, why in ranked.attrs["failed"].items():
        console.print(Text.assemble(("failed", "red"), f" {trial}: {why}"))
    console.print(f"Results in {config.output_dir}, with figures in report.html")


def serve(config: configs.ServeConfig) -> None:
    """Serve a reward model over HTTP: scores of answers, one by one or many at once.

    more-ray serve model.path=outputs/mine/model
    """
    from more_ray.paths import check_paths
    from more_ray.serve.port import check_port

    check_paths(config)
    check_port(config)
    from more_ray.cluster import session

    stopped = threading.Event()
    with session(config.max_replicas, config.verbose):
        from more_ray.bars import console
        from more_ray.serve.app import serving

        # After Ray, which sets handlers of its own.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        with serving(config) as url:
            console.print(f"Serving at {url} (documentation: {url}/docs)", soft_wrap=True)
            stopped.wait()
            console.print("Finishing the requests under way")


def sample(config: configs.RejectionSamplingConfig) -> None:
    """Sample answers of a policy, score them with a reward model, keep the best of each prompt.

    more-ray sample prompts=FILE policy.path=PATH reward.path=outputs/mine/model
    """
    summary = api.sample(config)
    from more_ray.bars import console
    from more_ray.run_folder import REPORT
    from more_ray.terminal import choices_tables, samples_table

    console.print(samples_table(summary), *choices_tables(summary))
    console.print(f"Results in {config.output_dir}, with figures in {config.output_dir}/{REPORT}")


def finetune(config: configs.FineTuneConfig) -> None:
    """Fine-tune a language model on answers: the chosen ones of pairs, or the best of its samples.

    more-ray finetune 'data.sources=[outputs/rejection_sampling/best.parquet]' model.path=PATH
    """
    evaluation = api.finetune(config)
    from more_ray.bars import console
    from more_ray.terminal import perplexity_table

    console.print(perplexity_table({"fine-tuned": evaluation}))
    console.print(f"Results in {config.output_dir}")


def judge(config: configs.JudgeConfig) -> None:
    """Ask a judge which of two models answers better: win, tie and lose.

    more-ray judge answers=outputs/ours.parquet against=outputs/theirs.parquet model=gpt-4.1
    """
    result = api.judge(config)
    if result is None:
        return
    from more_ray.bars import console
    from more_ray.terminal import judge_table

    console.print(judge_table(result))
    console.print(f"Results in {config.output_dir}")


def align(config: configs.AlignConfig) -> None:
    """From preferences to an aligned policy: reward models, rejection sampling, fine-tuning, a
    judge.

    more-ray align policy.path=PATH reward.data.root=FOLDER finetune.data.root=FOLDER \\
        prompts=FILE eval_prompts=FILE
    """
    result = api.align(config)
    from more_ray import storage
    from more_ray.bars import console
    from more_ray.run_folder import REPORT
    from more_ray.terminal import alignment_tables

    console.print(*alignment_tables(result))
    page = storage.join(config.output_dir, REPORT)
    console.print(f"Results in {config.output_dir}, with figures in {page}")


def report(config: configs.ReportConfig) -> None:
    """One page about runs and evaluations: verdict, tables, figures, and the numbers behind them.

    more-ray report 'runs=[outputs/mine,outputs/other]' output=report.html
    """
    page = api.report(config)
    from more_ray.bars import console
    from more_ray.terminal import evaluation_tables

    console.print(*evaluation_tables(page.evaluations))
    console.print(f"Report in {page.path}")


VERBS: dict[str, tuple[type[configs.Section], Callable[[Any], None]]] = {
    "demo": (configs.PairsRunConfig, demo),
    "train": (configs.PairsRunConfig, train),
    "prepare": (configs.RunConfig, prepare),
    "evaluate": (configs.EvaluationConfig, evaluate),
    "calibrate": (configs.CalibrationConfig, calibrate),
    "sweep": (configs.SweepConfig, sweep),
    "serve": (configs.ServeConfig, serve),
    "sample": (configs.RejectionSamplingConfig, sample),
    "finetune": (configs.FineTuneConfig, finetune),
    "judge": (configs.JudgeConfig, judge),
    "align": (configs.AlignConfig, align),
    "report": (configs.ReportConfig, report),
}
"""By name: the type of the settings, and the function that runs the verb."""
BEGINS_WITH = {"demo": [f"--config={READY / 'quickstart.yaml'}"]}
"""Arguments of a verb that come before those of its user."""
