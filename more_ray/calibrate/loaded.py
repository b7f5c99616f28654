"""A model that is asked in this process: what `more_ray.load` gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from more_ray.calibrate.opinions import Opinion, Opinions
from more_ray.calibrate.populations import populations_of
from more_ray.config import ModelConfig
from more_ray.model.scorer import Scorer


class LoadedModel(Scorer):
    """A reward model that says what answers are worth, and to whom.

    `source` names whose opinion is asked: a source with a head of its own, or "unknown" for people
    who were never asked. Without it the model's own head answers: everybody's, or that of
    `model.source`. `sources` lists the names; there are none where a model has a single head.

    Every method raises `UserError` for a prompt, answers or a source that cannot be used, and
    `ModelError` where an answer gets no finite score.
    """

    def __init__(
        self, model: ModelConfig, max_length: int | None = None, device: str = "cpu"
    ) -> None:
        super().__init__(model, max_length, device)
        self.path = model.path
        self._opinions = Opinions(model, populations_of(model, self.classifier))
        self.sources = self._opinions.sources
        self.temperature, _ = self._opinions.temperature()

    def __repr__(self) -> str:
        heads = f", heads of {', '.join(self.sources)}" if self.sources else ""
        return f"<reward model {self.path}{heads}>"

    def score(self, prompt: Any, answers: Sequence[str], source: str | None = None) -> list[float]:
        """The reward of each answer to a prompt: messages, a transcript, or what a user says."""
        self._opinions.check(source, uncertainty=False)
        return self._opinions.of(self.features_of(prompt, answers), source).scores

    def opinion(self, prompt: Any, answers: Sequence[str], source: str | None = None) -> Opinion:
        """Rewards, their standard deviations, and preferences that are less sure by doubt.

        Raises:
            UserError: also where the doubt is not known: only calibration finds it.
        """
        self._opinions.check(source, uncertainty=True)
        features = self.features_of(prompt, answers)
        return self._opinions.of(features, source, preferences=True, uncertainty=True)

    def preference(
        self,
        prompt: Any,
        a: str,
        b: str,
        source: str | None = None,
        uncertainty: bool = False,
    ) -> float:
        """The calibrated probability that answer `a` is preferred to `b`.

        Args:
            uncertainty: draw it towards one half by the doubt about the rewards.
        """
        self._opinions.check(source, uncertainty)
        features = self.features_of(prompt, [a, b])
        found = self._opinions.of(features, source, preferences=True, uncertainty=uncertainty)
        assert found.preferences is not None
        return found.preferences[0][1]

    def rank(self, prompt: Any, answers: Sequence[str], source: str | None = None) -> list[str]:
        """The answers, the best first."""
        scores = self.score(prompt, answers, source)
        order = sorted(range(len(answers)), key=lambda position: -scores[position])
        return [answers[position] for position in order]
