"""What the studies on a frozen trunk share: hidden states of pairs, and heads trained on them.

Legend: N pairs, K sources, H hidden size, T test pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from more_ray.config import DataConfig, ModelConfig
from more_ray.config.base import MayChange, Section
from more_ray.config.train import FEATURES

Floats = NDArray[np.float64]


class TrunkSettings(Section):
    model: ModelConfig = ModelConfig()
    """The trunk."""
    data: DataConfig = DataConfig()
    """Whose preferences are learnt."""
    precision: str = "auto"
    """Precision of the forward pass."""
    features: MayChange[str] = FEATURES
    """Folder of last hidden states."""
    epochs: int = Field(2, ge=1)
    """Passes over the largest source, for what is trained by steps."""


@dataclass(frozen=True)
class Data:
    """Everything that a draw reads."""

    names: tuple[str, ...]
    dz_NH: NDArray[np.float32]
    source_N: NDArray[np.int64]
    prompt_N: NDArray[np.uint64]
    test_TH: NDArray[np.float32]
    test_source_T: NDArray[np.int64]
    further: dict[str, NDArray[np.float32]]
    """Feature differences of the further test sets."""

    def learning_from(self, kept_N: NDArray[np.bool_]) -> Data:
        """The same tests, and some of the training pairs."""
        return replace(
            self,
            dz_NH=self.dz_NH[kept_N],
            source_N=self.source_N[kept_N],
            prompt_N=self.prompt_N[kept_N],
        )


def hidden_states(config: TrunkSettings, further: Sequence[str] = ()) -> Data:
    """One forward pass, where it was not made yet.

    Args:
        further: test sets that nothing is learnt from, `NAME=FILE`.
    """
    import torch

    from more_ray.bars import RunProgress
    from more_ray.calibrate.features import Features, Pass, extract
    from more_ray.calibrate.run import training_pairs
    from more_ray.calibrate.trunk import load_model, trunk_tokenizer
    from more_ray.data.prepare import prepare
    from more_ray.model.tokenizer import prepared_tokenizer
    from more_ray.model.trunk_digest import trunk_digest

    with RunProgress("features") as progress:
        tokenizer = trunk_tokenizer(config.model, config.data.max_length)
        prepared = prepare(config.data, tokenizer, progress.prepared)
        trunk = trunk_digest(load_model(config.model, prepared_tokenizer(prepared), torch.float32))
        how = Pass(config.model, trunk, config.features, config.precision, 1, None, None)
        features = extract(prepared, how, progress.scored)
        more: list[Features] = []
        if further:
            only = config.data.changed(root=None, sources=list(further))
            names = [source.partition("=")[0] for source in further]
            sets = prepare(only, tokenizer, progress.prepared, whole=names)
            more.append(extract(sets, how, progress.scored))
    names = prepared.names
    pairs, prompt_N = training_pairs(features, names, "uniform")
    return Data(
        names,
        pairs.dz_NH,
        pairs.source_N,
        prompt_N,
        np.concatenate([features.differences(name, "test") for name in names]),
        np.repeat(np.arange(len(names)), prepared.sizes("test")),
        {name: one.differences(name, "test") for one in more for name in one.prepared.names},
    )


def by_steps(
    data: Data,
    kept_N: NDArray[np.bool_],
    sources: Sequence[int],
    objective: dict[str, Any],
    lr: float,
    pairs_per_source: int,
    epochs: int,
    seed: int,
) -> Floats:
    """`[H]`, the head after training by AdamW on some pairs of some sources.

    Args:
        objective: settings of `objective`.
    """
    import torch

    from more_ray.config import RunConfig
    from more_ray.data.mixture import Mixture
    from more_ray.train.frozen import FeatureBatch, FrozenTrunk, TrainingPairs, train_heads

    rows = [np.flatnonzero(kept_N & (data.source_N == source)) for source in sources]
    dz_NH = torch.from_numpy(data.dz_NH[np.concatenate(rows)])
    sizes = tuple(len(row_n) for row_n in rows)
    source_N = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
    zero_N = torch.zeros(len(dz_NH))
    z_N2H = torch.stack([dz_NH, torch.zeros_like(dz_NH)], dim=1)
    names = tuple(data.names[source] for source in sources)
    mixture = Mixture(names, sizes, pairs_per_source, epochs, True, seed)
    run = RunConfig.model_validate(
        {"objective": objective, "optimizer": {"lr": lr}, "model": {"trunk": "frozen"}}
    )
    model = FrozenTrunk(torch.zeros(1, dz_NH.shape[1]))
    pairs = TrainingPairs(FeatureBatch(z_N2H, source_N, zero_N, zero_N), mixture)
    for _ in train_heads(model, run, pairs, mixture.steps):
        pass
    return model.score_head.weight.detach().numpy()[0].astype(np.float64)
