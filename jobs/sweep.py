"""Try learning rates, schemes, seeds and combinations of sources; ECE versus K.

python jobs/sweep.py --config jobs/configs/sweeps/ece-versus-k.yaml concurrent=2
"""

from __future__ import annotations

import os
import sys

from more_ray.cli import load_config
from more_ray.config.sweep import SweepConfig


def main() -> None:
    config = load_config(SweepConfig, sys.argv[1:], __doc__)
    from more_ray.cluster import session

    workers = config.run.train.workers * config.at_once(os.cpu_count() or 1)
    with session(workers, config.verbose):
        from more_ray.report.sweep_page import write_results
        from more_ray.sweep.run import run_sweep
        from more_ray.terminal import console, ranking_table

        failed = run_sweep(config)
        console.print(ranking_table(write_results(config, failed)))
        for trial, why in failed.items():
            console.print(f"[red]failed[/red] {trial}: {why}")
        console.print(f"Results in {config.output_dir}, with figures in report.html")


if __name__ == "__main__":
    main()
