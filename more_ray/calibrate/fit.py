"""All that calibration finds about pairs: ridges, heads, posterior, temperatures, strangers.

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from more_ray.calibrate.choose import choose_ridge
from more_ray.calibrate.coordinates import pooled_spectrum
from more_ray.calibrate.heads import fit_heads
from more_ray.calibrate.pairs import Floats, Pairs
from more_ray.calibrate.posterior import laplace
from more_ray.calibrate.unknown import (
    LeftOut,
    factors_of_strangers,
    leave_each_out,
    unknown_factor,
)
from more_ray.metrics.temperature import fit_temperature
from more_ray.model.heads_file import Calibration, Heads, drift_variance


def fit(
    pairs: Pairs,
    prompt_N: NDArray[np.uint64],
    trunk: str,
    folds: int,
    seed: int,
    prior_H: Floats | None,
) -> tuple[Calibration, dict[str, LeftOut]]:
    """All heads, and what the other sources say about each, with the same ridges.

    Args:
        prompt_N: as in `choose_ridge`.
        prior_H: as in `fit_heads`.
    """
    spectrum = pooled_spectrum(pairs)
    choice = choose_ridge(pairs, prompt_N, folds, seed, prior_H, spectrum)
    heads = fit_heads(pairs, choice.ridge, prior_H, spectrum=spectrum)
    settings = (choice.ridge, prior_H, heads, spectrum)
    left_out = leave_each_out(pairs, *settings)
    found = replace(
        _cooled(trunk, pairs, heads, choice.own_N, choice.shared_N),
        ridge=choice.ridge,
        posterior=laplace(pairs, heads, choice.ridge),
        unknown_factor=unknown_factor(pairs, left_out),
    )
    if len(pairs.names) > 2:
        factors = factors_of_strangers(pairs, *settings)
        left_out = {one: replace(left_out[one], factor=factors[one]) for one in left_out}
    return found, {pairs.names[source]: others for source, others in left_out.items()}


def fit_one_head(
    pairs: Pairs,
    prompt_N: NDArray[np.uint64],
    trunk: str,
    folds: int,
    seed: int,
    prior_H: Floats | None,
) -> Calibration:
    """The paper's MultiTask at its optimum: one head for all, sources in proportion to their sizes.

    A temperature is all that each source has of its own.
    """
    count_K = np.bincount(pairs.source_N, pairs.weight_N)
    pairs = replace(pairs, share_K=count_K / count_K.sum())
    spectrum = pooled_spectrum(pairs)
    choice = choose_ridge(pairs, prompt_N, folds, seed, prior_H, spectrum, drifts=False)
    heads = fit_heads(pairs, choice.ridge, prior_H, spectrum=spectrum)
    return _cooled(trunk, pairs, heads, choice.own_N, choice.shared_N)


def temperatures(trunk: str, pairs: Pairs, head_H: Floats) -> Calibration:
    """A head as it is, with a temperature for everybody and one for each source."""
    delta_N = pairs.dz_NH @ head_H
    heads = Heads(head_H, np.zeros((len(pairs.names), len(head_H))))
    return _cooled(trunk, pairs, heads, delta_N, delta_N)


def _cooled(trunk: str, pairs: Pairs, heads: Heads, own_N: Floats, shared_N: Floats) -> Calibration:
    """Heads with their temperatures.

    Args:
        own_N, shared_N: reward differences by heads that have not learnt from the pair.
    """

    def temperature(delta_N: Floats, rows: slice | NDArray[np.bool_]) -> float:
        return fit_temperature(delta_N[rows], pairs.label_N[rows], pairs.weight_N[rows])

    return Calibration(
        names=pairs.names,
        trunk=trunk,
        heads=heads,
        drift_variance=drift_variance(heads.drift_KH),
        shared_temperature=temperature(shared_N, slice(None)),
        temperature_K=np.array(
            [temperature(own_N, pairs.source_N == one) for one in range(len(pairs.names))]
        ),
    )
