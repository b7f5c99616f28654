"""Train a MORE reward model on several preference sources.

python jobs/train_more.py --config jobs/configs/quickstart.yaml train.workers=2
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.config import RunConfig


def main() -> None:
    config = load_config(RunConfig, sys.argv[1:], __doc__)
    # Only now: importing Ray, torch and DeepSpeed takes seconds, a wrong key should not.
    from more_ray.cluster import connect, quieten

    if not config.log.verbose:
        quieten()
    from more_ray.data.records import DataError
    from more_ray.model.loading import ModelError
    from more_ray.train.display import console, results_table
    from more_ray.train.run import RunError, run, runs

    try:
        connect(config.train.workers, config.log.verbose)
        evaluations = {scheme: run(one) for scheme, one in runs(config).items()}
    except (DataError, ModelError, RunError) as error:
        sys.exit(f"error: {error}")
    console.print(results_table(evaluations))
    console.print(f"Results in {config.output_dir}")


if __name__ == "__main__":
    main()
