"""What is minimised."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from more_ray.config.base import Section

NEED_GRADIENTS = ("more",)
"""Schemes whose weights are solved from gradients of the head."""


class ObjectiveConfig(Section):
    scheme: Literal["more", "uniform", "proportional", "fixed"] = "more"
    """Source weights: more solves (9) each step; uniform; proportional to |D_i| (the paper's
    MultiTask); fixed takes `weights`."""
    weights: dict[str, float] | None = None
    """Weight of each source for scheme=fixed; they are scaled to sum to one."""
    normalize: Literal["none", "l2", "loss", "loss+"] = "none"
    """What gradients are divided by before the solve: the paper none, its released code l2."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Share of the previous gradient average that is kept."""
    scope: Literal["global", "rank", "batch"] = "global"
    """global: one lam a micro-batch, from the gradients of all workers. rank: each worker its own.
    batch: one lam for all micro-batches of an optimizer step, exact, for a second forward pass
    (about a third more work); the same as global where train.accumulation=1."""
    solver: Literal["active_set", "frank_wolfe"] = "active_set"
    """active_set is exact; frank_wolfe is the paper's plain iteration."""
    loss: Literal["ranking", "dpo", "sft"] = "ranking"
    """ranking: a reward head on the model's trunk. dpo: no reward head; the reward of an answer is
    `beta` times what its log-likelihood gains over the untrained model's (K * vocabulary * hidden
    size numbers go into each lam). sft: the negative log-likelihood of the chosen answers (3), for
    weights that are known beforehand; records need no rejected answer."""
    beta: float = Field(0.1, gt=0)
    """Scale of the implicit reward of loss=dpo."""
    margin: bool = False
    """Subtract a pair's margin, where it has one, from its reward difference."""

    @model_validator(mode="after")
    def _scheme_fits(self) -> ObjectiveConfig:
        if (self.scheme == "fixed") != (self.weights is not None):
            raise ValueError("objective.weights is given exactly when objective.scheme=fixed")
        if self.loss == "sft" and (self.scheme in NEED_GRADIENTS or self.scope != "global"):
            raise ValueError(
                "objective.loss: sft allows objective.scheme=uniform, proportional or fixed, and "
                "objective.scope=global"
            )
        if self.weights is not None and (
            min(self.weights.values(), default=0) < 0 or sum(self.weights.values()) <= 0
        ):
            raise ValueError("objective.weights: weights >= 0 with a sum above 0 are allowed")
        return self
