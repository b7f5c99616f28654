"""Ask a judge which of two models answers better: win, tie and lose.

python jobs/judge.py answers=outputs/ours.parquet against=outputs/theirs.parquet model=gpt-4.1 \\
    criterion=harmless
"""

from __future__ import annotations

import importlib.util
import sys

from rich.console import Console
from rich.progress import Progress

from more_ray.cli import load_config
from more_ray.config.judge import JudgeConfig
from more_ray.errors import UserError

console = Console(highlight=False)


def main() -> None:
    config = load_config(JudgeConfig, sys.argv[1:], __doc__)
    try:
        run(config)
    except UserError as error:
        sys.exit(f"error: {error}")


def run(config: JudgeConfig) -> None:
    if importlib.util.find_spec("openai") is None:
        raise UserError("judge: pip install openai first")
    from more_ray.judge.cache import AnswerCache
    from more_ray.judge.run import estimate, judge, make_plan
    from more_ray.judge.summary import summary_table

    with AnswerCache(config.cache) as cache:
        plan = make_plan(config, cache)
        console.print(
            f"{len(plan.pairs):,} pairs, {len(plan.todo):,} requests, {plan.cached:,} more in the "
            f"cache: {estimate(config, plan)}",
            soft_wrap=True,
        )
        if plan.lonely:
            console.print(f"Left out: {plan.lonely:,} rows that only one of the files has")
        if config.estimate_only:
            return
        with Progress(console=console) as bar:
            task = bar.add_task("asking", total=len(plan.todo))
            result = judge(config, plan, cache, lambda: bar.advance(task))
    console.print(summary_table(result))
    console.print(f"Results in {config.output_dir}")


if __name__ == "__main__":
    main()
