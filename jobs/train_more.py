"""Train a MORE reward model on several preference sources.

python jobs/train_more.py --config jobs/configs/quickstart.yaml train.workers=2
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.config import RunConfig


def main() -> None:
    config = load_config(RunConfig, sys.argv[1:], __doc__)
    from more_ray.cluster import session

    with session(config.train.workers, config.log.verbose):
        from more_ray.train.display import console, results_table
        from more_ray.train.run import run, runs

        evaluations = {scheme: run(one) for scheme, one in runs(config).items()}
        console.print(results_table(evaluations))
        console.print(f"Results in {config.output_dir}")


if __name__ == "__main__":
    main()
