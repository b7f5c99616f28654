"""One page about runs and evaluations: verdict, tables, figures, and the numbers behind them.

python jobs/report.py 'runs=[outputs/mine,outputs/other]' output=report.html
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.config import ReportConfig


def main() -> None:
    config = load_config(ReportConfig, sys.argv[1:], __doc__)
    from more_ray.errors import UserError
    from more_ray.report.models import read_models
    from more_ray.report.run_page import write_report
    from more_ray.terminal import console, evaluation_tables

    try:
        models = read_models(config.runs)
        write_report(models, config.output)
    except UserError as error:
        sys.exit(f"error: {error}")
    console.print(*evaluation_tables({model.name: model.evaluation for model in models}))
    console.print(f"Report in {config.output}")


if __name__ == "__main__":
    main()
