"""What one population thinks of the answers to a prompt: rewards, doubt, preferences.

**The temperature.** Preferences are `sigmoid(difference / T)`. A head that calibration fitted
stands over its own temperature already, so T is 1, for everybody, every source and people never
asked. The heads that training leaves do not: T is fitted on the run's test pairs, for a source on
its own pairs, otherwise as for the shared head. A temperature that is given counts instead, for all
of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from more_ray.calibrate.pairs import Floats
from more_ray.calibrate.populations import Populations, Rewards
from more_ray.config import ModelConfig
from more_ray.errors import UserError
from more_ray.evaluate.temperature import model_temperature
from more_ray.model.scorer import Features
from more_ray.run_folder import exported_for


@dataclass(frozen=True)
class Opinion:
    """What a population thinks of A answers to a prompt."""

    scores: list[float]
    """The reward of each answer."""
    preferences: list[list[float]] | None = None
    """`[i][j]`: the probability that answer i is preferred to answer j."""
    deviations: list[float] | None = None
    """The standard deviation of each reward, less the mean reward of these answers."""


class Opinions:
    """The opinions of all populations of a model.

    Args:
        populations: its heads; None where it has a single one.
        temperature: what reward differences are divided by for preferences; unset, as above.
    """

    def __init__(
        self, model: ModelConfig, populations: Populations | None, temperature: float | None = None
    ) -> None:
        self._model = model
        self._populations = populations
        self._given = temperature
        self._temperatures: dict[str | None, tuple[float, str]] = {}
        exported = exported_for(model.path)
        self.whose = model.source or (exported if exported in self.sources else None)
        """The source whose head the model itself has; None for the shared one."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that have a head; none where the model has a single one."""
        return self._populations.names if self._populations else ()

    @property
    def know_doubt(self) -> bool:
        return bool(self._populations and self._populations.fitted.posterior)

    def temperature(self, source: str | None = None) -> tuple[float, str]:
        """The divisor of a population's reward differences, and where it comes from."""
        if self._given:
            return self._given, "given"
        if source not in self._temperatures:
            model = self._model
            if source is not None:
                unknown = self._populations and self._populations.is_unknown(source)
                model = model.changed(source=None if unknown else source)
            self._temperatures[source] = model_temperature(model)
        return self._temperatures[source]

    def check(self, source: str | None, uncertainty: bool) -> None:
        """Check what is asked for, before anything is computed.

        Raises:
            UserError: there is no such population, or it is not known how sure the heads are.
        """
        path = self._model.path
        if (source is not None or uncertainty) and self._populations is None:
            what = "uncertainty: true" if source is None else f"source: {source}"
            raise UserError(
                f"{what} given; {path} has a single head; allowed: neither source nor uncertainty"
            )
        if source is not None and self._populations:
            self._populations.check(source)
        if uncertainty and not self.know_doubt:
            raise UserError(
                f"uncertainty: true given; the heads of {path} come from training, which does not "
                "know how sure they are; allowed: false, or the model of a calibration"
            )

    def of(
        self,
        features: Features,
        source: str | None = None,
        preferences: bool = False,
        uncertainty: bool = False,
    ) -> Opinion:
        """The opinion of a source, of people never asked ("unknown"), or by the model's own head.

        Args:
            uncertainty: also deviations, and preferences are drawn towards one half by the doubt.
                Those of people never asked always are, where the doubt is known: no other
                temperature calibrates them.

        Raises:
            UserError: as `check`.
        """
        self.check(source, uncertainty)
        rewards = self._rewards(features, source, uncertainty)
        deviation_A = rewards.deviation_A if uncertainty else None
        return Opinion(
            rewards.reward_A.tolist(),
            rewards.preferences(self.temperature(source)[0]).tolist() if preferences else None,
            None if deviation_A is None else deviation_A.tolist(),
        )

    def _rewards(self, features: Features, source: str | None, uncertainty: bool) -> Rewards:
        reward_A, z_AH = features
        own_A: Floats = reward_A.double().numpy()
        if source is None and not uncertainty:
            return Rewards(own_A)
        assert self._populations is not None
        assert z_AH is not None
        doubt = uncertainty or self._populations.is_unknown(source)
        rewards = self._populations.rewards(source or self.whose, z_AH.double().numpy(), doubt)
        return rewards if source is not None else replace(rewards, reward_A=own_A)
