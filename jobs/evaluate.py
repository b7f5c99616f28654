"""Score test pairs with any reward model: accuracy and calibration, with intervals.

python jobs/evaluate.py model.path=outputs/mine/model data.root=FOLDER against=outputs/other
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.config import EvaluationConfig


def main() -> None:
    config = load_config(EvaluationConfig, sys.argv[1:], __doc__)
    from more_ray.cluster import session

    with session(config.workers, config.verbose):
        from more_ray.evaluate.run import evaluate
        from more_ray.terminal import (
            RunProgress,
            calibration_table,
            console,
            differences_table,
            results_table,
        )

        with RunProgress("evaluate") as progress:
            result = evaluate(config, progress.prepared, progress.scored)
        console.print(results_table({result["scheme"]: result}))
        console.print(calibration_table(result))
        if "against" in result:
            console.print(differences_table(result))
        console.print(f"Results in {config.output_dir}")


if __name__ == "__main__":
    main()
