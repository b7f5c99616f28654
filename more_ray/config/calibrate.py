"""What a calibration is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from more_ray.config.base import MayChange, Section, Seed
from more_ray.config.data import DataConfig
from more_ray.config.model import ModelConfig
from more_ray.config.train import FEATURES


class CalibrationConfig(Section):
    output_dir: MayChange[str] = "outputs/calibrated"
    """Where `model/`, `heads.safetensors`, `eval.json`, `scores.parquet`, `disagreements.parquet`
    and `report.html` go: a path, or any URI that pyarrow's filesystems open."""
    model: ModelConfig = ModelConfig()
    """A reward model, ours or another's, whose last layer is fitted anew, or a language model that
    gets one. All other weights stay as they are."""
    data: DataConfig = DataConfig()
    """Whose preferences are learnt."""
    fit: Literal["shared+drift", "temperature"] = "shared+drift"
    """shared+drift: fit the last layer anew. temperature: only divide the head that a reward model
    has by a number, for everybody and for each source: no ranking changes. The training pairs must
    then be such that the head has not learnt from."""
    weights: Literal["uniform", "proportional"] = "uniform"
    """What each source counts in the shared head: all the same, or as much as its pairs do."""
    labels: Literal["hard", "soft"] = "hard"
    """hard: every pair has one label, and ties are left out. soft: where the share of votes for an
    answer is known, heads are fitted to it and evaluated on it, a tie as one half."""
    near_given: bool = True
    """Draw the shared head towards the head that a reward model has; False: towards zero."""
    folds: int = Field(5, ge=2)
    """Parts of the training prompts, each held out once to choose the ridges by."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the forward pass. auto: bf16 on a GPU, and on a CPU that a short measurement
    finds much faster in it, else fp32."""
    features: MayChange[str] = FEATURES
    """Folder (path or URI, shared by all nodes) of last hidden states, reused by fingerprint."""
    workers: MayChange[int] = Field(1, ge=1)
    """Processes that compute them, one device each."""
    use_gpu: MayChange[bool | None] = None
    """A GPU for each worker. Unset: when the cluster has enough."""
    batch_tokens: MayChange[int | None] = Field(None, ge=512)
    """Tokens of one forward pass. Unset: 8,192, on a GPU 32,768."""
    export: MayChange[str | None] = None
    """Name of a source: also write a plain checkpoint with its head, to `models/NAME`."""
    bins: int = Field(10, ge=1)
    """Bins of the calibration errors (the paper: 10)."""
    resamples: int = Field(1_000, ge=100)
    """Draws of each bootstrap and permutation."""
    seed: Seed = 0
    """Seed of the folds and the draws."""
    texts: MayChange[bool] = False
    """Write the texts of test pairs into `disagreements.parquet`, and show those of the pairs that
    divide populations most on the page. Both are then only for those who may read the data."""
    verbose: MayChange[bool] = False
    """Show the logs of Ray and the workers."""
