"""Train a MORE reward model on several preference sources.

python jobs/train_more.py --config jobs/configs/quickstart.yaml train.workers=2
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.config import RunConfig

SIDE_BY_SIDE = 3
"""More models than these are shown as a row each."""


def main() -> None:
    config = load_config(RunConfig, sys.argv[1:], __doc__)
    from more_ray.cluster import session

    with session(config.train.workers, config.log.verbose):
        from more_ray.train.comparison import train_all
        from more_ray.train.display import console, matrix_table, results_table

        evaluations = train_all(config)
        if len(evaluations) <= SIDE_BY_SIDE:
            console.print(results_table(evaluations))
        else:
            console.print(matrix_table(evaluations, "accuracy", "Accuracy"))
            console.print(matrix_table(evaluations, "ece", "ECE"))
        console.print(f"Results in {config.output_dir}")


if __name__ == "__main__":
    main()
