"""The rewards of one prompt's answers by every population, and how sure they are.

Everybody is the shared head. Each source has its own. People who were never asked have the shared
head as it was fitted, and the doubt of `unknown.py`.

Legend: A answers, H hidden size, K sources, P = 1 + K populations: everybody, then each source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from more_ray.calibrate.pairs import Floats
from more_ray.calibrate.posterior import widened
from more_ray.config import ModelConfig
from more_ray.errors import UserError
from more_ray.metrics.calibration import sigmoid
from more_ray.model.heads_file import Calibration, read_heads
from more_ray.model.population import heads_file
from more_ray.model.trunk_digest import trunk_digest

UNKNOWN = "unknown"
"""Names people who were never asked, where no source has that name."""


@dataclass(frozen=True)
class Rewards:
    """What one population thinks of A answers to a prompt."""

    reward_A: Floats
    covariance_AA: Floats | None = None
    """Of the rewards less their mean over the answers; None where the posterior is not known."""

    @property
    def deviation_A(self) -> Floats | None:
        """Posterior standard deviations of the rewards, less their mean over the answers."""
        if self.covariance_AA is None:
            return None
        return np.sqrt(np.diagonal(self.covariance_AA).clip(min=0))

    def preferences(self, temperature: float) -> Floats:
        """`[i, j]`: the probability that answer i is preferred to answer j, less sure by doubt.

        Args:
            temperature: what the rewards, and so their doubt, are still to be divided by.
        """
        delta_AA = (self.reward_A[:, None] - self.reward_A) / temperature
        if self.covariance_AA is None:
            return sigmoid(delta_AA)
        own_A = np.diagonal(self.covariance_AA)
        doubt_AA = (own_A[:, None] + own_A - 2 * self.covariance_AA) / temperature**2
        return sigmoid(widened(delta_AA, doubt_AA.clip(min=0)))


@dataclass(frozen=True)
class ByPopulation:
    """What everybody and each source think of A answers to a prompt."""

    names: tuple[str, ...]
    """Of the K sources; none where the model has a single head."""
    reward_PA: Floats
    """By the model's own head, which is the shared one unless it is a source's, then by each
    source's."""
    deviation_PA: Floats | None = None
    """As `Rewards.deviation_A`."""


@dataclass(frozen=True)
class Populations:
    """The heads of a model, to be applied to the last hidden states of answers."""

    fitted: Calibration

    @property
    def names(self) -> tuple[str, ...]:
        """Of the K sources."""
        return self.fitted.names

    def is_unknown(self, name: str | None) -> bool:
        """Whether a name stands for people who were never asked."""
        return name == UNKNOWN and name not in self.names

    def check(self, name: str) -> None:
        """Raises UserError where `name` is neither a source nor people never asked."""
        if name not in (*self.names, UNKNOWN):
            allowed = ", ".join((*self.names, UNKNOWN))
            raise UserError(f"source: {name} given; allowed: {allowed}, or none for everybody")

    def rewards(self, name: str | None, z_AH: Floats, doubt: bool = True) -> Rewards:
        """What a source thinks of answers, everybody (None), or people never asked (`UNKNOWN`).

        The rewards are calibrated: a head is over its temperature.

        Args:
            doubt: also the covariance, which costs A H^2 products.

        Raises:
            UserError: no such source.
        """
        fitted, posterior = self.fitted, self.fitted.posterior if doubt else None
        unknown = self.is_unknown(name)
        if name is None or unknown:
            head_H = fitted.heads.shared_H
            temperature = 1.0 if unknown else fitted.shared_temperature
            factor_HH = posterior and posterior.shared_HH
        else:
            self.check(name)
            row = self.names.index(name)
            head_H, temperature = fitted.heads.own_KH[row], fitted.temperature_K[row]
            factor_HH = None if posterior is None else posterior.own_KHH[row]
        reward_A = z_AH @ head_H / temperature
        if factor_HH is None:
            return Rewards(reward_A)
        centred_AH = z_AH - z_AH.mean(axis=0)
        spread_AH = centred_AH @ factor_HH
        covariance_AA = spread_AH @ spread_AH.T / temperature**2
        if unknown:
            assert fitted.unknown_factor is not None
            variance = fitted.unknown_factor * fitted.drift_variance
            covariance_AA += variance * (centred_AH @ centred_AH.T)
        return Rewards(reward_A, covariance_AA)

    def by_population(self, z_AH: Floats, whose: str | None = None) -> ByPopulation:
        """The rewards by everybody, or by the source `whose` in their place, and by each source."""
        each = [self.rewards(name, z_AH) for name in (whose, *self.names)]
        deviations = [rewards.deviation_A for rewards in each]
        known = [deviation_A for deviation_A in deviations if deviation_A is not None]
        return ByPopulation(
            self.names,
            np.stack([rewards.reward_A for rewards in each]),
            np.stack(known) if known else None,
        )


def populations_of(config: ModelConfig, classifier: PreTrainedModel) -> Populations | None:
    """The heads beside the model `classifier`, None where its run has no more than one.

    Raises:
        ModelError: the heads are of another trunk.
    """
    path = heads_file(config)
    if path is None:
        return None
    hidden_size = classifier.score.weight.shape[1]
    return Populations(read_heads(path, trunk_digest(classifier), hidden_size))
