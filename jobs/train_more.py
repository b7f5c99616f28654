"""Train a MORE reward model on several preference sources.

python jobs/train_more.py --config jobs/configs/quickstart.yaml train.workers=2
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.config import PairsRunConfig


def main() -> None:
    config = load_config(PairsRunConfig, sys.argv[1:], __doc__)
    from more_ray.cluster import session

    with session(config.train.workers, config.log.verbose):
        from more_ray import storage
        from more_ray.report.models import read_models
        from more_ray.report.run_page import write_report
        from more_ray.run_folder import REPORT
        from more_ray.terminal import console, evaluation_tables
        from more_ray.train.comparison import train_all

        models = read_models(train_all(config))
        report = storage.join(config.output_dir, REPORT)
        write_report(models, report)
        console.print(*evaluation_tables({model.name: model.evaluation for model in models}))
        console.print(f"Results in {config.output_dir}, with figures in {report}")


if __name__ == "__main__":
    main()
