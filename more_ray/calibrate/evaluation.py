"""What a calibration is worth on the test pairs, by every way to score them.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from more_ray import storage
from more_ray.calibrate.disagreement import compare_drifts, disagreements_table, parts_of
from more_ray.calibrate.features import Features
from more_ray.calibrate.pairs import Floats
from more_ray.calibrate.posterior import variances, widened
from more_ray.calibrate.texts import read_texts
from more_ray.calibrate.unknown import LeftOut, squared_lengths
from more_ray.config import CalibrationConfig
from more_ray.evaluate.files import write_scores
from more_ray.evaluate.pairs import EvaluationPairs
from more_ray.metrics.evaluation import Evaluation, Measured
from more_ray.metrics.scores import SourceScores
from more_ray.metrics.summary import compare, summarise
from more_ray.model.heads_file import Calibration
from more_ray.model.tokenizer import prepared_tokenizer
from more_ray.parquet import write_table
from more_ray.run_folder import DISAGREEMENTS

SCHEME = "drift"
"""What `eval.json` calls it."""


def evaluate(
    config: CalibrationConfig,
    features: Features,
    fitted: Calibration,
    left_out: Mapping[str, LeftOut],
    one_head: Calibration | None,
) -> Evaluation:
    """Write `scores.parquet` and `disagreements.parquet`; the content of `eval.json`.

    Sources that were not fitted are people who were never asked: their own numbers are those of the
    shared head, less sure by its posterior and by the variance of an unknown drift.

    Args:
        left_out: what the other sources say about each; none where no drifts were fitted.
        one_head: what own heads are compared with, pair by pair, where there are own heads.
    """
    prepared = features.prepared
    about = EvaluationPairs(prepared).scores
    tests = {name: _Test(features, fitted, name) for name in prepared.names}
    numbers = (config.seed, config.bins, config.resamples)

    def scored(way: Callable[[_Test], Floats]) -> dict[str, SourceScores]:
        score_N2 = np.concatenate([way(test) for test in tests.values()])
        return about(score_N2.astype(np.float32))

    def measured(scores: Mapping[str, SourceScores]) -> Measured:
        whole = summarise(scores, SCHEME, None, *numbers)
        return {"sources": whole["sources"], "mean": whole["mean"]}

    own = scored(lambda test: test.own_N2)
    write_scores(own, config.output_dir)
    result = summarise(own, SCHEME, None, *numbers)
    result["shared"] = measured(scored(lambda test: test.shared_N2))
    if fitted.ridge:
        parts = {name: parts_of(fitted.heads, test.dz_NH) for name, test in tests.items()}
        result["drifts"] = compare_drifts(fitted.names, np.concatenate(list(parts.values())))
        texts = read_texts(prepared, prepared_tokenizer(prepared)) if config.texts else None
        table = disagreements_table(fitted, own, parts, texts)
        write_table(storage.join(config.output_dir, DISAGREEMENTS), table)
        result["posterior"] = measured(scored(lambda test: test.unsure_N2))
    if one_head:
        plain = scored(lambda test: test.by(one_head))
        result["one_head"] = measured(plain)
        result["against"] = {"path": "one head for all", **compare([own], [plain], *numbers)}
    if left_out:
        result["left_out"] = measured(scored(lambda test: test.by_others(left_out)))
    return result


@dataclass(frozen=True)
class _Test:
    """The test pairs of a source, scored in every way: `[N, 2]`, chosen and rejected."""

    features: Features
    fitted: Calibration
    name: str

    @cached_property
    def z_N2H(self) -> Floats:
        return np.stack(self.features.of(self.name, "test"), axis=1).astype(np.float64)

    @cached_property
    def dz_NH(self) -> Floats:
        return self.z_N2H[:, 0] - self.z_N2H[:, 1]

    @property
    def source(self) -> int | None:
        names = self.fitted.names
        return names.index(self.name) if self.name in names else None

    @property
    def shared_N2(self) -> Floats:
        return self.z_N2H @ self.fitted.folded_H

    @property
    def own_N2(self) -> Floats:
        unknown = self.source is None and self.fitted.posterior
        return self.unknown_N2 if unknown else self.by(self.fitted)

    def by(self, heads: Calibration) -> Floats:
        """By the own head; of a source that was not fitted, by the shared one."""
        own = self.source is not None
        return self.z_N2H @ (heads.folded_KH[self.source] if own else heads.folded_H)

    @property
    def unsure_N2(self) -> Floats:
        """By the own head, less sure by its posterior."""
        if self.source is None or not self.fitted.posterior:
            return self.own_N2
        doubt_N = variances(self.dz_NH, self.fitted.posterior.own_KHH[self.source])
        scale = self.fitted.temperature_K[self.source]
        return _alone(widened(self.dz_NH @ self.fitted.folded_KH[self.source], doubt_N / scale**2))

    @property
    def unknown_N2(self) -> Floats:
        """As people who were never asked."""
        fitted = self.fitted
        assert fitted.posterior
        assert fitted.unknown_factor is not None
        return self._of_strangers(
            fitted.heads.shared_H,
            fitted.posterior.shared_HH,
            fitted.unknown_factor * fitted.drift_variance,
        )

    def by_others(self, left_out: Mapping[str, LeftOut]) -> Floats:
        """The same by heads that never saw this source; all are such where it was not fitted."""
        if self.name not in left_out:
            return self.own_N2
        others = left_out[self.name]
        return self._of_strangers(others.heads.shared_H, others.factor_HH, others.variance)

    def _of_strangers(self, head_H: Floats, factor_HH: Floats, variance: float) -> Floats:
        doubt_N = variances(self.dz_NH, factor_HH) + variance * squared_lengths(self.dz_NH)
        return _alone(widened(self.dz_NH @ head_H, doubt_N))


def _alone(delta_N: Floats) -> Floats:
    """`[N, 2]` scores with these differences: the rejected answers get 0."""
    return np.stack([delta_N, np.zeros_like(delta_N)], axis=1)
