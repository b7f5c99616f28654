"""From preferences to an aligned policy: reward models, rejection sampling, fine-tuning, a judge.

python jobs/align.py --config jobs/configs/align-smollm2.yaml reward.data.root=FOLDER \\
    finetune.data.root=FOLDER prompts=FILE eval_prompts=FILE
"""

from __future__ import annotations

import importlib.util
import sys

from more_ray.cli import load_config
from more_ray.config.align import AlignConfig
from more_ray.config.base import dump


def main() -> None:
    config = load_config(AlignConfig, sys.argv[1:], __doc__)
    if config.judge and importlib.util.find_spec("openai") is None:
        sys.exit("error: judge: pip install openai first")
    from more_ray.cluster import session

    with session(config.reward.train.workers, config.reward.log.verbose):
        from more_ray import storage
        from more_ray.align.chain import align
        from more_ray.report.align_page import render_page
        from more_ray.run_folder import REPORT
        from more_ray.terminal import alignment_tables, console, judging

        result = align(config, console.rule, judging)
        report = storage.join(config.output_dir, REPORT)
        storage.write_text(report, render_page(result, dump(config)))
        console.print(*alignment_tables(result))
        console.print(f"Results in {config.output_dir}, with figures in {report}")


if __name__ == "__main__":
    main()
