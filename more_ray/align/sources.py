"""The sources of the chain's data: those of the reward models, and those that policies are measured
on."""

from __future__ import annotations

from more_ray.config import DataConfig
from more_ray.config.align import AlignConfig
from more_ray.config.sample import OF_SOURCE
from more_ray.data.names import source_names
from more_ray.errors import UserError

BEST = "best"
"""The source that a policy is fine-tuned on."""


def held_out(data: DataConfig) -> list[str]:
    """The sources that perplexity is measured on, as `data.sources` names them."""
    return data.sources or (source_names(data) if data.root else [])


def check_sources(config: AlignConfig) -> None:
    """Check that the reward models will have heads of the sources that choices name, and that none
    to measure on is called as the best answers are."""
    data = config.finetune.data
    if BEST in (source_names(data) if held_out(data) else []):
        raise UserError(
            f"finetune.data: a source is called {BEST}, as the best answers are here; give it "
            "another name (NAME=PATH)"
        )
    named = [by.removeprefix(OF_SOURCE) for by in config.choices if by.startswith(OF_SOURCE)]
    names = (config.reward.data.train_on or source_names(config.reward.data)) if named else []
    for name in named:
        if name not in names:
            raise UserError(
                f"choices: {OF_SOURCE}{name} given; the reward models learn from {', '.join(names)}"
            )
