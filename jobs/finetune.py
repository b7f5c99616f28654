"""Fine-tune a language model on answers: the chosen ones of pairs, or the best of its samples.

python jobs/finetune.py 'data.sources=[outputs/rejection_sampling/best.parquet]' model.path=PATH
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.config.finetune import FineTuneConfig


def main() -> None:
    config = load_config(FineTuneConfig, sys.argv[1:], __doc__)
    from more_ray.cluster import session

    with session(config.train.workers, config.log.verbose):
        from more_ray.terminal import console, perplexity_table
        from more_ray.train.run import run

        console.print(perplexity_table({"fine-tuned": run(config)}))
        console.print(f"Results in {config.output_dir}")


if __name__ == "__main__":
    main()
