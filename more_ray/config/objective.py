"""Settings of the objective: loss, scheme of the weights, solver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    PlainSerializer,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from more_ray.config.base import Section
from more_ray.objective.losses import LOSSES
from more_ray.objective.schemes import SCHEMES, TORCHJD, check_torchjd, scheme_of


def _in_torchjd(given: Any, registered: ValidatorFunctionWrapHandler) -> str:
    if not isinstance(given, str) or not given.startswith(TORCHJD):
        return registered(given)
    check_torchjd(given)
    return given


OR_TORCHJD = WrapValidator(_in_torchjd), PlainSerializer(str)
"""Let a Literal take `torchjd:` and the name of a weighting of that package, too."""

# A type checker cannot read the names out of the registries.
if TYPE_CHECKING:
    SchemeName = LossName = str
else:
    SchemeName = Annotated[(Literal[tuple(SCHEMES)], *OR_TORCHJD)]
    LossName = Literal[tuple(LOSSES)]


class ObjectiveConfig(Section):
    scheme: SchemeName = Field(
        "more",
        description="Source weights: "
        + "; ".join(f"{name} {scheme.help}" for name, scheme in SCHEMES.items())
        + ".",
    )
    weights: dict[str, float] | None = None
    """Weight of each source for scheme=fixed; they are scaled to sum to one."""
    normalize: Literal["none", "l2", "loss", "loss+"] = "none"
    """What scheme=more divides gradients by before the solve: the paper none, its code l2."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Share of the previous gradient average that scheme=more keeps."""
    scope: Literal["global", "rank", "batch"] = "global"
    """global: one lam per micro-batch, from the gradients of all workers. rank: one per worker.
    batch: one lam for all micro-batches of an optimizer step, exact, at the price of a second
    forward pass (about a third more work); the same as global where train.accumulation=1."""
    solver: Literal["active_set", "frank_wolfe"] = "active_set"
    """active_set is exact; frank_wolfe is the paper's plain iteration."""
    debias: bool = False
    """Take the sampling noise out of the squared gradient norms that lam is solved from, which
    otherwise favours sources with quiet gradients. Wants many pairs of a source: where noise
    prevails, a squared norm may come near 0, and most of lam goes to its source; one that is not
    above 0 counts as no gradient and gets none. A source with a single pair keeps its norm."""
    dro_step: float = Field(0.01, gt=0)
    """Step size of scheme=group_dro."""
    loss: LossName = Field(
        "ranking", description=" ".join(f"{name}: {loss.help}." for name, loss in LOSSES.items())
    )
    beta: float = Field(0.1, gt=0)
    """Scale of the implicit reward of loss=dpo."""
    labels: Literal["hard", "soft"] = "hard"
    """hard: every pair has one label, and ties are left out. soft: where the share of votes for an
    answer is known, it is learnt, a tie as one half; the run is then evaluated on shares, too."""
    margin: bool = False
    """Subtract a pair's margin, where it has one, from its reward difference."""

    @model_validator(mode="after")
    def _scheme_fits(self) -> ObjectiveConfig:
        scheme = scheme_of(self.scheme)
        if scheme.takes_weights != (self.weights is not None):
            takers = [name for name, scheme in SCHEMES.items() if scheme.takes_weights]
            raise ValueError(
                f"objective.weights is given exactly when objective.scheme={' or '.join(takers)}"
            )
        needs_gradients = scheme.needs_gradients or self.scope != "global"
        if needs_gradients and not LOSSES[self.loss].has_gradients:
            *others, last = [name for name, scheme in SCHEMES.items() if not scheme.needs_gradients]
            raise ValueError(
                f"objective.loss: {self.loss} allows objective.scheme={', '.join(others)} or "
                f"{last}, and objective.scope=global"
            )
        if self.debias and not scheme.needs_gradients:
            solving = [name for name, one in SCHEMES.items() if one.needs_gradients]
            raise ValueError(f"objective.debias: needs objective.scheme={' or '.join(solving)}")
        if self.debias and self.momentum:
            raise ValueError("objective.debias: cannot be used with objective.momentum")
        if self.labels == "soft" and not LOSSES[self.loss].needs_pairs:
            raise ValueError(
                f"objective.labels: objective.loss={self.loss} has no labels; allowed: hard"
            )
        if self.labels == "soft" and self.margin:
            raise ValueError("objective.margin: cannot be used with objective.labels=soft")
        if self.weights is not None and (
            min(self.weights.values(), default=0) < 0 or sum(self.weights.values()) <= 0
        ):
            raise ValueError("objective.weights: weights >= 0 with a sum above 0 are allowed")
        return self
