"""TensorBoard, MLflow and Weights & Biases, each imported only where it is asked for."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from more_ray.config import RunConfig


class Tracker(Protocol):
    def log(self, line: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class TrackerError(Exception):
    """A tracker that was asked for is not installed."""


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of a metrics line under names with slashes: `lam/helpful`, `loss`."""
    flat = {}
    for key, value in line.items():
        if isinstance(value, dict):
            flat |= {f"{key}/{name}": float(number) for name, number in value.items()}
        elif key != "step" and isinstance(value, (int, float)):
            flat[key] = float(value)
    return flat


class _TensorBoard:
    def __init__(self, folder: str) -> None:
        self._writer = _module("torch.utils.tensorboard", "tensorboard").SummaryWriter(folder)

    def log(self, line: dict[str, Any]) -> None:
        for name, value in scalars(line).items():
            self._writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    def __init__(self, uri: str, name: str, config: RunConfig) -> None:
        self._mlflow = _module("mlflow", "mlflow")
        self._mlflow.set_tracking_uri(uri)
        self._mlflow.set_experiment("more_ray")
        self._mlflow.start_run(run_name=name)
        self._mlflow.log_dict(config.model_dump(), "config.yaml")

    def log(self, line: dict[str, Any]) -> None:
        self._mlflow.log_metrics(scalars(line), step=line["step"])

    def close(self) -> None:
        self._mlflow.end_run()


class _WandB:
    def __init__(self, project: str, name: str, config: RunConfig) -> None:
        wandb = _module("wandb", "wandb")
        self._run = wandb.init(project=project, name=name, config=config.model_dump())

    def log(self, line: dict[str, Any]) -> None:
        self._run.log(scalars(line), step=line["step"])

    def close(self) -> None:
        self._run.finish()


def make_trackers(output_dir: str, config: RunConfig) -> list[Tracker]:
    """The trackers that `config.log` names.

    Raises:
        TrackerError: one of them is not installed.
    """
    name = output_dir.rstrip("/").rpartition("/")[2]
    trackers: list[Tracker] = []
    if config.log.tensorboard:
        trackers.append(_TensorBoard(f"{output_dir}/tensorboard"))
    if config.log.mlflow:
        trackers.append(_MLflow(config.log.mlflow, name, config))
    if config.log.wandb:
        trackers.append(_WandB(config.log.wandb, name, config))
    return trackers


def _module(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TrackerError(f"log.{package}: pip install {package} first") from error
