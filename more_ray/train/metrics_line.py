"""A line of `metrics.jsonl`, and the state of a run that the driver follows.

Legend: K sources.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

if TYPE_CHECKING:
    from more_ray.metrics.evaluation import Evaluation
    from more_ray.train.exchange import SourceStats

BySource = dict[str, float | None]
"""None where a number is not finite: JSON has neither NaN nor infinity."""


class MetricsLine(TypedDict):
    """The measurements of a micro-step, or of an optimizer step with `objective.scope=batch`."""

    step: int
    time: float
    """Seconds since 1970."""
    loss: float | None
    """The weighted loss (7)."""
    source_loss: BySource
    source_accuracy: BySource
    lam: BySource
    grad_norm: BySource
    noise_share: BySource
    """How much of the squared `grad_norm` is sampling noise, estimated without bias, so it may be
    above 1; None for a source with fewer than two pairs or no gradient. Lines of earlier versions
    lack this key."""
    cosine: list[list[float | None]]
    """`[K, K]`: the cosines between the sources' head gradients."""
    lr: float
    pairs_per_s: float
    tokens_per_s: float
    seconds: float
    data_wait_seconds: float
    """How much of `seconds` the worker waited for its batch."""
    skipped: bool
    """Whether the optimizer step was skipped; lines of earlier versions lack this key."""


class RunState(TypedDict):
    """The progress of a run."""

    phase: str
    line: MetricsLine | None
    """The newest line."""
    evaluation: Evaluation | None
    """The content of the newest `eval.json`."""
    skipped_steps: int
    stopped: str | None
    """Why the workers ended before the last step, where starting them again would not help."""


def metrics_line(
    step: int,
    lr: float,
    stats: SourceStats,
    names: Sequence[str],
    seconds: float,
    waited: float,
    skipped: bool,
) -> MetricsLine:
    """The line of a step that took `seconds`, `waited` of them for data."""

    def finite(values: np.ndarray | float) -> Any:
        return np.where(np.isfinite(values), values, np.array(None)).tolist()

    def by_name(value_K: np.ndarray) -> BySource:
        return dict(zip(names, finite(value_K), strict=True))

    return {
        "step": step,
        "time": time.time(),
        "loss": finite(stats.loss),
        "source_loss": by_name(stats.loss_K),
        "source_accuracy": by_name(stats.accuracy_K),
        "lam": by_name(stats.lam_K),
        "grad_norm": by_name(stats.grad_norm_K),
        "noise_share": by_name(stats.noise_share_K),
        "cosine": finite(stats.cosine_KK),
        "lr": lr,
        "pairs_per_s": stats.count_K.sum() / seconds,
        "tokens_per_s": stats.tokens_K.sum() / seconds,
        "seconds": seconds,
        "data_wait_seconds": waited,
        "skipped": skipped,
    }
