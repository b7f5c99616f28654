"""The temperature that makes a run's rewards calibrated preferences."""

from __future__ import annotations

import numpy as np

from more_ray import storage
from more_ray.evaluate.files import read_scores
from more_ray.metrics.temperature import fit_temperature
from more_ray.run_folder import SCORES, run_of


def model_temperature(model_path: str) -> tuple[float, str]:
    """What differences of a model's rewards are divided by, and where that is from.

    It is fitted on the `scores.parquet` of the run that the model lies in; 1 where there is none.

    Args:
        model_path: a run's `model` folder, or any other model.
    """
    run = run_of(model_path)
    if run is None or not storage.exists(storage.join(run, SCORES)):
        return 1.0, "nothing known: the rewards as they are"
    deltas = [scores.delta_N for scores in read_scores(run).values()]
    return fit_temperature(np.concatenate(deltas)), "fitted on the run's test pairs"
