"""Any verb's settings, made so small that it ends within seconds."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from more_ray import config as configs
from more_ray.config.reading import ConfigT, settings

RUN: dict[str, Any] = {
    "data.max_pairs": 48,
    "data.test_pairs": 32,
    "data.simulator.pairs": 64,
    "data.simulator.test_pairs": 32,
    "train.pairs_per_source": 4,
    "train.accumulation": 1,
    "train.max_steps": 2,
    "train.threads": 1,
}
SAMPLING: dict[str, Any] = {"limit": 4, "sampling.samples": 2, "sampling.max_new_tokens": 8}
SMALL: dict[type[BaseModel], dict[str, Any]] = {
    configs.RunConfig: RUN,
    configs.EvaluationConfig: {"data.test_pairs": 32, "resamples": 100},
    configs.CalibrationConfig: {
        "data.max_pairs": 48,
        "data.test_pairs": 32,
        "data.simulator.pairs": 64,
        "data.simulator.test_pairs": 32,
        "folds": 2,
        "resamples": 100,
    },
    configs.SweepConfig: {
        "concurrent": 1,
        "trials": 2,
        **{f"run.{key}": value for key, value in RUN.items()},
    },
    configs.ServeConfig: {"threads": 1},
    configs.RejectionSamplingConfig: SAMPLING,
    configs.JudgeConfig: {"limit": 2},
    configs.AlignConfig: {
        **SAMPLING,
        "eval_limit": 2,
        "eval_samples": 1,
        **{f"reward.{key}": value for key, value in RUN.items()},
        **{f"finetune.{key}": value for key, value in RUN.items()},
    },
}


def small(config: ConfigT) -> ConfigT:
    """A copy that says the same in little; settings that are not of a verb stay as they are."""
    changes = dict(next((SMALL[kind] for kind in type(config).__mro__ if kind in SMALL), {}))
    if isinstance(config, configs.SweepConfig):
        changes["sizes"] = config.sizes[:1]
        lists = {key: tried for key, tried in config.space.items() if isinstance(tried, list)}
        # Of the first, two values, so that there is something to compare.
        changes["space"] = {
            key: tried[: 2 if position == 0 else 1]
            for position, (key, tried) in enumerate(lists.items())
        }
    return settings(type(config), config, changes) if changes else config
