"""Optimizer steps that are skipped because a loss or gradient is not finite."""

from __future__ import annotations

from collections.abc import Sequence

from more_ray.train.exchange import SourceStats
from more_ray.train.losses import Engine


class Skips:
    """Counts steps skipped in a row, alike on all ranks; rank 0 also knows the sources at fault."""

    def __init__(self, engine: Engine, names: Sequence[str]) -> None:
        self._engine, self._names = engine, names
        self._updates = engine.global_steps
        self._sources: set[str] = set()
        self.in_a_row = 0

    def look(self, stats: SourceStats | None) -> bool:
        """Call after each micro-step: whether it ended an optimizer step that was skipped."""
        if stats is not None:
            self._sources |= {
                name for name, finite in zip(self._names, stats.finite_K, strict=True) if not finite
            }
        ended = self._engine.global_steps > self._updates
        skipped = ended and not self._engine.was_step_applied()
        self._updates = self._engine.global_steps
        if skipped:
            self.in_a_row += 1
        elif ended:
            self.in_a_row = 0
            self._sources.clear()
        return skipped

    def reason(self, step: int) -> str:
        """Why the run stops at `step`, in one line."""
        what = "a gradient within the model"
        if self._sources:
            what = f"the loss or head gradient of {', '.join(sorted(self._sources))}"
        return (
            f"{self.in_a_row} optimizer steps in a row were skipped, the last at step {step}, "
            f"because {what} was not finite"
        )
