"""The schemes that `heads_compared.py` compares: each gives reward differences of the test pairs.

Legend: N pairs, K sources, H hidden size, T test pairs, F pairs of a further test set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from frozen import Data, Floats, by_steps
from numpy.typing import NDArray

Deltas = dict[str, Floats]
"""Reward differences `[T]` of all test pairs, by the name of a way to score them."""
PAIRS_PER_SOURCE = 16
"""B of what is trained by steps."""


def one_head(data: Data, shares: str, seed: int, ridges: dict[str, list[float]]) -> Deltas:
    """One head for all, at its optimum."""
    from more_ray.calibrate.choose import choose_ridge
    from more_ray.calibrate.coordinates import pooled_spectrum
    from more_ray.calibrate.heads import fit_heads
    from more_ray.calibrate.pairs import make_pairs
    from more_ray.metrics.temperature import fit_temperature

    pairs = make_pairs(data.dz_NH, data.source_N, data.names, shares)
    spectrum = pooled_spectrum(pairs)
    choice = choose_ridge(pairs, data.prompt_N, seed=seed, spectrum=spectrum, drifts=False)
    ridges[shares] = [choice.ridge.shared]
    heads = fit_heads(pairs, choice.ridge, spectrum=spectrum)
    delta_T = data.test_TH @ heads.shared_H
    temperature_K = np.array(
        [fit_temperature(choice.own_N[data.source_N == one]) for one in range(len(data.names))]
    )
    left_T = np.empty(len(delta_T))
    cooled_T = np.empty(len(delta_T))
    for source in range(len(data.names)):
        others = fit_heads(pairs.without(source), choice.ridge, start=heads, spectrum=spectrum)
        row_t = data.test_source_T == source
        left_T[row_t] = data.test_TH[row_t] @ others.shared_H
        # One temperature of the others, by heads that saw neither their prompts nor this source.
        seen_N = _held_out_of(pairs.without(source), data.prompt_N, choice.ridge, heads, spectrum)
        others_N = data.source_N != source
        cooled_T[row_t] = left_T[row_t] / fit_temperature(seen_N[others_N])
    return {
        shares: delta_T,
        f"{shares} + T": delta_T / temperature_K[data.test_source_T],
        f"{shares}, left out": left_T,
        f"{shares} + T, left out": cooled_T,
    }


def _held_out_of(pairs: Any, prompt_N: Any, ridge: Any, start: Any, spectrum: Any) -> Floats:
    """`[N]` differences by heads of the other folds."""
    from more_ray.calibrate.choose import fold_of
    from more_ray.calibrate.heads import fit_heads

    fold_N = fold_of(prompt_N, 5, seed=0)
    delta_N = np.empty(len(fold_N))
    for fold in range(5):
        part = pairs.keeping(fold_N != fold)
        heads = fit_heads(part, ridge, None, start, spectrum, tolerance=np.inf)
        delta_N[fold_N == fold] = pairs.dz_NH[fold_N == fold] @ heads.shared_H
    return delta_N


def single_heads(data: Data, seed: int, ridges: dict[str, list[float]]) -> Deltas:
    """A head for each source alone (Top), and the mean of their rewards (Averaging)."""
    from more_ray.calibrate.choose import choose_ridge
    from more_ray.calibrate.heads import fit_heads
    from more_ray.calibrate.pairs import make_pairs
    from more_ray.metrics.temperature import fit_temperature

    head_KH, temperature_K, own_N = [], [], np.empty(len(data.dz_NH))
    ridges["single"] = []
    for source, name in enumerate(data.names):
        mine_N = data.source_N == source
        pairs = make_pairs(data.dz_NH[mine_N], np.zeros(mine_N.sum(), np.int64), [name])
        choice = choose_ridge(pairs, data.prompt_N[mine_N], seed=seed, drifts=False)
        ridges["single"].append(choice.ridge.shared)
        head_KH.append(fit_heads(pairs, choice.ridge).shared_H)
        own_N[mine_N] = choice.own_N
        temperature_K.append(fit_temperature(choice.own_N))
    every_TK = data.test_TH @ np.array(head_KH).T
    source_T = data.test_source_T
    own_T = np.take_along_axis(every_TK, source_T[:, None], axis=1)[:, 0]
    mean_T, sources = every_TK.mean(axis=1), len(data.names)
    # A pair's own head has learnt from it: for the temperature, its cross-validated one stands in.
    every_NK = data.dz_NH @ np.array(head_KH).T
    np.put_along_axis(every_NK, data.source_N[:, None], own_N[:, None], axis=1)
    mean_N = every_NK.mean(axis=1)
    mean_temperature_K = np.array(
        [fit_temperature(mean_N[data.source_N == one]) for one in range(sources)]
    )
    left_T = (every_TK.sum(axis=1) - own_T) / (sources - 1)
    cooled_T = np.empty(len(left_T))
    for source in range(sources):
        others_NK = np.delete(every_NK, source, axis=1)[data.source_N != source]
        row_t = source_T == source
        cooled_T[row_t] = left_T[row_t] / fit_temperature(others_NK.mean(axis=1))
    return {
        "single": own_T,
        "single + T": own_T / np.array(temperature_K)[source_T],
        "averaging": mean_T,
        "averaging + T": mean_T / mean_temperature_K[source_T],
        "averaging, left out": left_T,
        "averaging + T, left out": cooled_T,
    }


def shared_and_drift(
    data: Data, seed: int, ridges: dict[str, list[float]]
) -> tuple[Deltas, dict[str, Deltas]]:
    """What `jobs/calibrate.py` fits."""
    from more_ray.calibrate.fit import fit
    from more_ray.calibrate.pairs import make_pairs
    from more_ray.calibrate.posterior import variances, widened
    from more_ray.calibrate.unknown import squared_lengths

    pairs = make_pairs(data.dz_NH, data.source_N, data.names, "uniform")
    found, left_out = fit(pairs, data.prompt_N, "", 5, seed, None)
    assert found.ridge
    assert found.posterior
    assert found.unknown_factor is not None
    ridges["drift"] = [found.ridge.shared, found.ridge.drift]
    dz_TH, source_T = data.test_TH.astype(np.float64), data.test_source_T
    own_T, sure_T, left_T, wide_T = (np.empty(len(dz_TH)) for _ in range(4))
    for source, name in enumerate(data.names):
        row_t = source_T == source
        dz_tH, others = dz_TH[row_t], left_out[name]
        own_T[row_t] = dz_tH @ found.heads.own_KH[source]
        sure_T[row_t] = variances(dz_tH, found.posterior.own_KHH[source])
        left_T[row_t] = dz_tH @ others.heads.shared_H
        unknown_t = others.variance * squared_lengths(dz_tH)
        wide_T[row_t] = variances(dz_tH, others.factor_HH) + unknown_t
    temperature_T = found.temperature_K[source_T]
    shared_T = dz_TH @ found.heads.shared_H
    further = {}
    for name, further_TH in data.further.items():
        dz_FH = further_TH.astype(np.float64)
        doubt_F = variances(dz_FH, found.posterior.shared_HH)
        doubt_F += found.unknown_factor * found.drift_variance * squared_lengths(dz_FH)
        heads = dict(zip(found.names, found.folded_KH, strict=True))
        further[name] = {one: dz_FH @ head_H for one, head_H in heads.items()}
        further[name]["shared"] = dz_FH @ found.folded_H
        further[name]["unknown people"] = widened(dz_FH @ found.heads.shared_H, doubt_F)
    return {
        "drift": own_T,
        "drift + T": own_T / temperature_T,
        "drift + T, posterior": widened(own_T / temperature_T, sure_T / temperature_T**2),
        "drift, shared head": shared_T,
        "drift + T, shared head": shared_T / found.shared_temperature,
        "drift, left out": left_T,
        "drift, left out, unknown": widened(left_T, wide_T),
    }, further


def held_out(data: Data, seed: int) -> NDArray[np.bool_]:
    from more_ray.calibrate.choose import fold_of

    return fold_of(data.prompt_N, 5, seed) == 0


def trained_head(data: Data, epochs: int, scheme: str, lr: float, seed: int) -> Deltas:
    """One head for all, trained by steps."""
    from more_ray.metrics.temperature import fit_temperature

    sources, source_T = range(len(data.names)), data.test_source_T
    settings = ({"scheme": scheme}, lr, PAIRS_PER_SOURCE, epochs, seed)
    held_N, every_N = held_out(data, seed), np.ones(len(data.dz_NH), bool)
    unseen_n = data.dz_NH[held_N] @ by_steps(data, ~held_N, sources, *settings)
    source_n = data.source_N[held_N]
    temperature_K = np.array([fit_temperature(unseen_n[source_n == one]) for one in sources])
    delta_T = data.test_TH @ by_steps(data, every_N, sources, *settings)
    left_T, cooled_T = np.empty(len(delta_T)), np.empty(len(delta_T))
    for source in sources:
        others = [one for one in sources if one != source]
        row_t = source_T == source
        head_H = by_steps(data, every_N, others, *settings)
        left_T[row_t] = data.test_TH[row_t] @ head_H
        cooled_T[row_t] = left_T[row_t] / fit_temperature(unseen_n[source_n != source])
    name = f"{scheme}, by steps"
    return {
        name: delta_T,
        f"{name} + T": delta_T / temperature_K[source_T],
        f"{name}, left out": left_T,
        f"{name} + T, left out": cooled_T,
    }
