"""Ask a judge which of two models answers better: win, tie and lose.

python jobs/judge.py answers=outputs/ours.parquet against=outputs/theirs.parquet model=gpt-4.1 \\
    criterion=harmless
"""

from __future__ import annotations

import importlib.util
import sys

from more_ray.cli import load_config
from more_ray.config.judge import JudgeConfig
from more_ray.errors import UserError


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
    from more_ray.terminal import console, judge_table, judging

    with AnswerCache(config.cache) as cache:
        plan = make_plan(config, cache)
        text = (
            f"{len(plan.pairs):,} pairs, {len(plan.todo):,} requests, {plan.cached:,} more in the "
            f"cache: {estimate(config, plan)}"
        )
        if plan.lonely:
            text += f"\nLeft out: {plan.lonely:,} rows that only one of the files has"
        if config.estimate_only:
            console.print(text, soft_wrap=True, highlight=False)
            return
        with judging(text, len(plan.todo)) as on_answer:
            result = judge(config, plan, cache, on_answer)
    console.print(judge_table(result))
    console.print(f"Results in {config.output_dir}")


if __name__ == "__main__":
    main()
