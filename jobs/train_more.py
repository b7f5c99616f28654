"""Train a MORE reward model on several preference sources.

    python jobs/train_more.py --config jobs/configs/quickstart.yaml train.workers=2
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.cluster import connect
from more_ray.config import RunConfig
from more_ray.data.records import DataError
from more_ray.model.loading import ModelError
from more_ray.storage import join
from more_ray.train.display import console, results_table
from more_ray.train.run import RunError, run


def runs(config: RunConfig) -> dict[str, RunConfig]:
    """The run, or with `compare` one run a scheme, each in a folder of its own."""
    schemes = list(dict.fromkeys([config.objective.scheme, *config.compare]))
    if len(schemes) == 1:
        return {schemes[0]: config}
    return {
        scheme: config.model_copy(
            update={
                "output_dir": join(config.output_dir, scheme),
                "compare": [],
                "objective": config.objective.model_copy(update={"scheme": scheme}),
            }
        )
        for scheme in schemes
    }


def main() -> None:
    config = load_config(RunConfig, sys.argv[1:], __doc__)
    try:
        connect(config.train.workers, config.log.verbose)
        evaluations = {scheme: run(one) for scheme, one in runs(config).items()}
    except (DataError, ModelError, RunError) as error:
        sys.exit(f"error: {error}")
    console.print(results_table(evaluations))
    console.print(f"Results in {config.output_dir}")


if __name__ == "__main__":
    main()
