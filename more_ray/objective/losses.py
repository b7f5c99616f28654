"""The losses, by the names that `objective.loss` takes, and what must be known about them before
data is prepared or a model is loaded.

A new loss is a row here and a task in `train/tasks.py`. Importing this file imports no torch, since
the command line reads it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loss:
    """What a loss trains, and what it needs."""

    help: str
    """Follows the name in the help text."""
    trains_policy: bool = False
    """A causal LM is trained without a reward head: all of its weights, on packed answers."""
    needs_pairs: bool = True
    """Rejected answers are learnt from, and the model is evaluated on pairs."""
    has_gradients: bool = True
    """Schemes that need gradients of the head can be used."""
    title: str | None = None
    """Shown by the progress bar, instead of the scheme."""


LOSSES = {
    "ranking": Loss("a reward head on the model's trunk"),
    "dpo": Loss(
        "no reward head; the reward of an answer is `beta` times what its log-likelihood gains "
        "over the untrained model's (K * vocabulary * hidden size numbers go into each lam)",
        trains_policy=True,
    ),
    "sft": Loss(
        "the negative log-likelihood of the chosen answers (3), for weights that are known "
        "beforehand; records need no rejected answer",
        trains_policy=True,
        needs_pairs=False,
        has_gradients=False,
        title="fine-tune",
    ),
}
