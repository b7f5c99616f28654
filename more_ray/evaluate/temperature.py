"""The temperature that makes a run's rewards calibrated preferences."""

from __future__ import annotations

import numpy as np

from more_ray import storage
from more_ray.evaluate.files import read_scores
from more_ray.metrics.temperature import fit_temperature
from more_ray.run_folder import HEADS, SCORES, run_of, settings_of


def model_temperature(model_path: str) -> tuple[float, str]:
    """The divisor of a model's reward differences, and where it comes from.

    It is fitted on the `scores.parquet` of the run that holds the model; 1 without such a run, and
    after calibration, which has divided every head by its temperature.

    Args:
        model_path: a run's `model` folder, or any other model.
    """
    run = run_of(model_path)
    if run is None or not storage.exists(storage.join(run, SCORES)):
        return 1.0, "nothing known: the rewards as they are"
    if settings_of(model_path) is None and storage.exists(storage.join(run, HEADS)):
        return 1.0, "calibrated: the head is divided by its temperature"
    deltas = [scores.delta_N for scores in read_scores(run).values()]
    return fit_temperature(np.concatenate(deltas)), "fitted on the run's test pairs"
