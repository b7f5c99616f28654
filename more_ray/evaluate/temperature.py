"""The temperature that makes a run's rewards calibrated preferences."""

from __future__ import annotations

import numpy as np

from more_ray import storage
from more_ray.config import ModelConfig
from more_ray.evaluate.files import read_scores
from more_ray.metrics.scores import labels_of
from more_ray.metrics.temperature import fit_temperature
from more_ray.run_folder import HEADS, SCORES, evaluation_of, run_of, settings_of


def model_temperature(model: ModelConfig) -> tuple[float, str]:
    """The divisor of a model's reward differences, and where it comes from.

    It is fitted on the `scores.parquet` of the run that holds the model: for a source on its own
    pairs, otherwise as for the shared head. It is 1 without such a run, and after
    calibration, which has divided every head by its temperature.

    Args:
        model: a run's `model` folder, or any other model.
    """
    run = run_of(model.path)
    if run is None or not storage.exists(storage.join(run, SCORES)):
        return 1.0, "nothing known: the rewards as they are"
    several = storage.exists(storage.join(run, HEADS))
    if several and settings_of(model.path) is None:
        return 1.0, "calibrated: the head is divided by its temperature"
    fitted = "fitted on the run's test pairs"
    scores = read_scores(run)
    own = model.source in scores
    if several and not own:  # the scores are those of the own heads
        shared = evaluation_of(run)["shared"]["sources"].values()
        return float(np.exp(np.mean([np.log(one["temperature"]) for one in shared]))), fitted
    of_source = [scores[model.source]] if own else list(scores.values())
    delta_N = np.concatenate([one.delta_N for one in of_source])
    return fit_temperature(delta_N, **labels_of(of_source)), fitted
