"""TensorBoard, MLflow and Weights & Biases, each imported only if the config asks for it."""

from __future__ import annotations

import importlib.util
from typing import Protocol

from more_ray.config import RunConfig
from more_ray.train.metrics_line import MetricsLine


class Tracker(Protocol):
    def log(self, line: MetricsLine) -> None: ...

    def close(self) -> None: ...


def scalars(line: MetricsLine) -> dict[str, float]:
    """The numbers of a metrics line under names with slashes: `lam/helpful`, `loss`."""
    flat = {}
    for key, value in line.items():
        if isinstance(value, dict):
            known = {name: number for name, number in value.items() if number is not None}
            flat |= {f"{key}/{name}": float(number) for name, number in known.items()}
        elif key not in ("step", "time") and isinstance(value, (int, float)):
            flat[key] = float(value)
    return flat


class _TensorBoard:
    def __init__(self, folder: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder)

    def log(self, line: MetricsLine) -> None:
        for name, value in scalars(line).items():
            self._writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    def __init__(self, uri: str, name: str, config: RunConfig) -> None:
        import mlflow

        self._mlflow = mlflow
        self._mlflow.set_tracking_uri(uri)
        self._mlflow.set_experiment("more_ray")
        self._mlflow.start_run(run_name=name)
        self._mlflow.log_dict(config.model_dump(), "config.yaml")

    def log(self, line: MetricsLine) -> None:
        self._mlflow.log_metrics(scalars(line), step=line["step"])

    def close(self) -> None:
        self._mlflow.end_run()


class _WandB:
    def __init__(self, project: str, name: str, config: RunConfig) -> None:
        import wandb

        self._run = wandb.init(project=project, name=name, config=config.model_dump())

    def log(self, line: MetricsLine) -> None:
        self._run.log(scalars(line), step=line["step"])

    def close(self) -> None:
        self._run.finish()


def missing_tracker(config: RunConfig) -> str | None:
    """The first tracker that `config.log` names and that is not installed."""
    for name in ("tensorboard", "mlflow", "wandb"):
        if getattr(config.log, name) and importlib.util.find_spec(name) is None:
            return name
    return None


def make_trackers(output_dir: str, config: RunConfig) -> list[Tracker]:
    """The trackers that `config.log` names."""
    name = output_dir.rstrip("/").rpartition("/")[2]
    trackers: list[Tracker] = []
    if config.log.tensorboard:
        trackers.append(_TensorBoard(f"{output_dir}/tensorboard"))
    if config.log.mlflow:
        trackers.append(_MLflow(config.log.mlflow, name, config))
    if config.log.wandb:
        trackers.append(_WandB(config.log.wandb, name, config))
    return trackers
