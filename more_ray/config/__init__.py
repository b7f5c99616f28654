"""What each job takes: pydantic models with a docstring under every setting."""

from more_ray.config.align import AlignConfig
from more_ray.config.base import Section
from more_ray.config.calibrate import CalibrationConfig
from more_ray.config.data import DataConfig, SimulatorConfig
from more_ray.config.evaluate import EvaluationConfig
from more_ray.config.finetune import FineTuneConfig
from more_ray.config.judge import JudgeConfig, JudgeEndpoint
from more_ray.config.model import LoraConfig, ModelConfig
from more_ray.config.objective import ObjectiveConfig
from more_ray.config.report import ReportConfig
from more_ray.config.run import LogConfig, PairsRunConfig, RunConfig
from more_ray.config.sample import (
    PolicyConfig,
    RejectionSamplingConfig,
    SamplingConfig,
    SelectConfig,
)
from more_ray.config.serve import ServeConfig
from more_ray.config.sweep import SweepConfig
from more_ray.config.train import OptimizerConfig, TrainConfig

__all__ = [
    "AlignConfig",
    "CalibrationConfig",
    "DataConfig",
    "EvaluationConfig",
    "FineTuneConfig",
    "JudgeConfig",
    "JudgeEndpoint",
    "LogConfig",
    "LoraConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PairsRunConfig",
    "PolicyConfig",
    "RejectionSamplingConfig",
    "ReportConfig",
    "RunConfig",
    "SamplingConfig",
    "Section",
    "SelectConfig",
    "ServeConfig",
    "SimulatorConfig",
    "SweepConfig",
    "TrainConfig",
]
