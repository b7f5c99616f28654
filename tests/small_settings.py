"""Any verb's settings, made so small that it ends within seconds."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from more_ray import config as configs
from more_ray.config.base import Tree
from more_ray.config.reading import ConfigT, settings

SIMULATOR: dict[str, Any] = {"data.simulator.pairs": 64, "data.simulator.test_pairs": 32}
RUN: dict[str, Any] = {
    "data.max_pairs": 48,
    "data.test_pairs": 32,
    "data.test_fraction": 0.3,
    **SIMULATOR,
    "train.pairs_per_source": 4,
    "train.accumulation": 1,
    "train.max_steps": 2,
    "train.threads": 1,
}
SAMPLING: dict[str, Any] = {"sampling.samples": 2, "sampling.max_new_tokens": 8}
SMALL: dict[type[BaseModel], dict[str, Any]] = {
    configs.RunConfig: RUN,
    configs.EvaluationConfig: {"data.test_pairs": 32, "resamples": 100},
    configs.CalibrationConfig: {
        "data.max_pairs": 48,
        "data.test_pairs": 32,
        **SIMULATOR,
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
        "reward.compare": [],
        "eval_limit": 2,
        "eval_samples": 1,
        **{f"reward.{key}": value for key, value in RUN.items()},
        **{f"finetune.{key}": value for key, value in RUN.items()},
    },
}


def small(config: ConfigT, home: str) -> ConfigT:
    """A copy that asks for little work; what a verb keeps at home goes to another folder."""
    changes = next((SMALL[kind] for kind in type(config).__mro__ if kind in SMALL), {})
    changes = {**changes, **_moved(config.model_dump(), home)}
    if isinstance(config, configs.EvaluationConfig) and config.scores_pairs:
        changes |= SIMULATOR
    if isinstance(config, configs.SweepConfig):
        changes["sizes"] = config.sizes[:1]
        lists = {key: tried for key, tried in config.space.items() if isinstance(tried, list)}
        changes["space"] = {key: tried[:1] for key, tried in lists.items()}
    return settings(type(config), config, changes)


def _moved(tree: Tree, home: str, prefix: str = "") -> Tree:
    """The paths at home, by their dotted keys."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _moved(value, home, f"{prefix}{key}.")
        elif isinstance(value, str) and value.startswith("~/"):
            found[prefix + key] = home + value[1:]
    return found
