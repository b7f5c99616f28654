"""Which reward head serves people who disagree: one for all, MORE's, or shared + drift?

    python jobs/benchmarks/heads_compared.py model.path=PATH model.layers=12 data.root=FOLDER

All schemes get the same last hidden states of a frozen trunk, the same training pairs in each of
`draws` (a tenth of the prompts left out, another tenth in each), and the same test pairs. One head
for all (uniform, proportional = MultiTask), a head for each source alone (single = Top), the mean
of those (averaging) and shared + drift (drift) are fitted to their optimum, with ridges by
cross-validation; MORE is trained by AdamW, and beside it uniform likewise, each with the learning
rate that is best on a fifth of the training prompts. Each is scored as it is, and over a
temperature that was fitted on training pairs that it did not see. `left out` is each source by what
was learnt from the others.

Writes `results/heads_compared-N.json`, N the blocks of the trunk.

Legend: N pairs, K sources, H hidden size, T test pairs.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from pydantic import Field
from record import record

from more_ray.config import DataConfig, ModelConfig
from more_ray.config.base import MayChange, Section
from more_ray.config.train import FEATURES

Floats = NDArray[np.float64]
Deltas = dict[str, Floats]
"""Reward differences `[T]` of all test pairs, by the name of a way to score them."""
RESAMPLES = 2_000


class HeadsBenchmark(Section):
    model: ModelConfig = ModelConfig()
    """The trunk."""
    data: DataConfig = DataConfig()
    """Whose preferences are learnt."""
    benchmarks: list[str] = Field([])
    """Further test sets that nothing is learnt from: `NAME=FILE`."""
    draws: int = Field(10, ge=1)
    """Samples of the training pairs."""
    lrs: list[float] = Field([3e-4, 1e-3, 3e-3, 1e-2])
    """Learning rates to choose from, for what is trained by steps."""
    epochs: int = Field(2, ge=1)
    """Passes over the largest source, for what is trained by steps."""
    pairs_per_source: int = Field(16, ge=1)
    """B."""
    precision: str = "auto"
    """Precision of the forward pass."""
    features: MayChange[str] = FEATURES
    """Folder of last hidden states."""


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


def main() -> None:
    from more_ray.cli import load_config
    from more_ray.cluster import session, worker_environment

    config = load_config(HeadsBenchmark, sys.argv[1:], __doc__ or "")
    with session(2, False):
        started = time.perf_counter()
        data = hidden_states(config)
        passed = time.perf_counter()
        shared = ray.put(data)
        environment = {"env_vars": worker_environment(False) | {"OMP_NUM_THREADS": "1"}}
        draw_once = ray.remote(one_draw).options(num_cpus=1, runtime_env=environment)
        chosen = ray.remote(best_lr).options(num_cpus=1, runtime_env=environment)
        schemes = ("more", "uniform")
        found = ray.get([chosen.remote(shared, config, scheme) for scheme in schemes])
        lrs = dict(zip(schemes, found, strict=True))
        draws = ray.get(
            [draw_once.remote(shared, config, draw, lrs) for draw in range(config.draws)]
        )
        fitted = time.perf_counter()
    deltas = [draw.deltas for draw in draws]
    layers = config.model.layers or "all"
    settings = config.model_dump(mode="json") | {
        "sources": {
            name: int((data.test_source_T == i).sum()) for i, name in enumerate(data.names)
        },
        "seconds of the forward pass": passed - started,
        "seconds of the fits": fitted - passed,
        "learning rates": lrs,
        "ridges of each draw": [draw.ridges for draw in draws],
    }
    record(f"heads_compared-{layers}", settings, list(starmap(_row, _by_way(data, deltas).items())))
    record(f"heads_compared-{layers}-differences", settings, differences(data, deltas))
    if data.further:
        record(f"heads_compared-{layers}-further", settings, further_rows(data, draws))


def hidden_states(config: HeadsBenchmark) -> Data:
    """One forward pass, where it was not made yet."""
    import torch

    from more_ray.bars import RunProgress
    from more_ray.calibrate.features import Features, Pass, extract
    from more_ray.calibrate.trunk import load_model, trunk_tokenizer
    from more_ray.data.prepare import prepare
    from more_ray.model.tokenizer import prepared_tokenizer
    from more_ray.model.trunk_digest import trunk_digest

    with RunProgress("features") as progress:
        tokenizer = trunk_tokenizer(config.model, config.data.max_length)
        prepared = prepare(config.data, tokenizer, progress.prepared, prompts=True)
        trunk = trunk_digest(load_model(config.model, prepared_tokenizer(prepared), torch.float32))
        how = Pass(config.model, trunk, config.features, config.precision, 1, None, None)
        features = extract(prepared, how, progress.scored)
        more: list[Features] = []
        if config.benchmarks:
            only = config.data.changed(root=None, sources=config.benchmarks)
            names = [source.partition("=")[0] for source in config.benchmarks]
            sets = prepare(only, tokenizer, progress.prepared, whole=names, prompts=True)
            more.append(extract(sets, how, progress.scored))
    names = prepared.names
    files = [prepared.file(name, "train") for name in names]
    prompts = [file.take(np.arange(len(file)), ["prompt"])["prompt"].to_numpy() for file in files]
    sizes, test_sizes = prepared.sizes("train"), prepared.sizes("test")
    return Data(
        names,
        np.concatenate([features.differences(name, "train") for name in names]),
        np.repeat(np.arange(len(names)), sizes),
        np.concatenate(prompts),
        np.concatenate([features.differences(name, "test") for name in names]),
        np.repeat(np.arange(len(names)), test_sizes),
        {name: one.differences(name, "test") for one in more for name in one.prepared.names},
    )


@dataclass(frozen=True)
class Draw:
    """What one sample of the training pairs leads to."""

    deltas: Deltas
    further: dict[str, Deltas]
    ridges: dict[str, list[float]]


def one_draw(data: Data, config: HeadsBenchmark, draw: int, lrs: dict[str, float]) -> Draw:
    """All schemes on one sample of the training pairs."""
    from more_ray.calibrate.choose import fold_of

    kept_N = fold_of(data.prompt_N, 10, seed=1_000) != draw % 10
    data = replace(
        data,
        dz_NH=data.dz_NH[kept_N],
        source_N=data.source_N[kept_N],
        prompt_N=data.prompt_N[kept_N],
    )
    deltas, ridges = {}, {}
    for scheme in ("uniform", "proportional"):
        deltas |= one_head(data, scheme, draw, ridges)
    deltas |= single_heads(data, draw, ridges)
    drift, further = shared_and_drift(data, draw, ridges)
    deltas |= drift
    for scheme, lr in lrs.items():
        deltas |= trained_head(data, config, scheme, lr, draw)
    return Draw(deltas, further, ridges)


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


def best_lr(data: Data, config: HeadsBenchmark, scheme: str) -> float:
    """The learning rate by which a scheme's mean NLL is least on a fifth of the prompts."""
    held_N, sources = _held_out(data, seed=0), range(len(data.names))

    def mean_nll(lr: float) -> float:
        head_H = by_steps(data, ~held_N, sources, config, scheme, lr, seed=0)
        parts = (data.dz_NH[held_N & (data.source_N == one)] for one in sources)
        return float(np.mean([_nll(dz_nH @ head_H) for dz_nH in parts]))

    return min(config.lrs, key=mean_nll)


def _held_out(data: Data, seed: int) -> NDArray[np.bool_]:
    from more_ray.calibrate.choose import fold_of

    return fold_of(data.prompt_N, 5, seed) == 0


def trained_head(data: Data, config: HeadsBenchmark, scheme: str, lr: float, seed: int) -> Deltas:
    """One head for all, trained by steps."""
    from more_ray.metrics.temperature import fit_temperature

    sources, source_T = range(len(data.names)), data.test_source_T
    held_N, every_N = _held_out(data, seed), np.ones(len(data.dz_NH), bool)
    unseen_n = data.dz_NH[held_N] @ by_steps(data, ~held_N, sources, config, scheme, lr, seed)
    source_n = data.source_N[held_N]
    temperature_K = np.array([fit_temperature(unseen_n[source_n == one]) for one in sources])
    delta_T = data.test_TH @ by_steps(data, every_N, sources, config, scheme, lr, seed)
    left_T, cooled_T = np.empty(len(delta_T)), np.empty(len(delta_T))
    for source in sources:
        others = [one for one in sources if one != source]
        row_t = source_T == source
        head_H = by_steps(data, every_N, others, config, scheme, lr, seed)
        left_T[row_t] = data.test_TH[row_t] @ head_H
        cooled_T[row_t] = left_T[row_t] / fit_temperature(unseen_n[source_n != source])
    name = f"{scheme}, by steps"
    return {
        name: delta_T,
        f"{name} + T": delta_T / temperature_K[source_T],
        f"{name}, left out": left_T,
        f"{name} + T, left out": cooled_T,
    }


def by_steps(
    data: Data, kept_N: Any, sources: Any, config: HeadsBenchmark, scheme: str, lr: float, seed: int
) -> Floats:
    """`[H]`, the head after training on some pairs of some sources."""
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
    mixture = Mixture(names, sizes, config.pairs_per_source, config.epochs, True, seed)
    run = RunConfig.model_validate(
        {"objective": {"scheme": scheme}, "optimizer": {"lr": lr}, "model": {"trunk": "frozen"}}
    )
    model = FrozenTrunk(torch.zeros(1, dz_NH.shape[1]))
    pairs = TrainingPairs(FeatureBatch(z_N2H, source_N, zero_N, zero_N), mixture)
    for _ in train_heads(model, run, pairs, mixture.steps):
        pass
    return model.score_head.weight.detach().numpy()[0].astype(np.float64)


def _by_way(data: Data, draws: list[Deltas]) -> dict[str, dict[str, Any]]:
    """For each way to score, its measures' means over sources and draws."""
    return {name: _summary(data, [draw[name] for draw in draws]) for name in draws[0]}


def _summary(data: Data, delta_DT: list[Floats]) -> dict[str, Any]:
    from more_ray.metrics.calibration import ece
    from more_ray.metrics.intervals import calibrated_replicates

    def floor(delta_T: Floats) -> float:
        return float(calibrated_replicates({"ece": ece}, delta_T, 0, 50)["ece"].mean())

    measures = {"accuracy": _accuracy, "nll": _nll, "brier": _brier, "ece": ece, "floor": floor}
    by_draw = {
        name: [np.mean(_by_source(data, delta_T, measure)) for delta_T in delta_DT]
        for name, measure in measures.items()
    }
    found: dict[str, Any] = {name: float(np.mean(values)) for name, values in by_draw.items()}
    for name in ("accuracy", "nll"):
        low, high = np.quantile(_resampled(data, delta_DT, measures[name]), [0.025, 0.975])
        found[f"{name}, 95%"] = f"{low:.3f} to {high:.3f}"
    found["ece of the draws"] = f"{min(by_draw['ece']):.3f} to {max(by_draw['ece']):.3f}"
    accuracies = np.mean([_by_source(data, delta_T, _accuracy) for delta_T in delta_DT], axis=0)
    return found | {name: float(one) for name, one in zip(data.names, accuracies, strict=True)}


def _accuracy(delta_T: Floats) -> float:
    return float((delta_T > 0).mean())


def _nll(delta_T: Floats) -> float:
    return float(np.logaddexp(0, -delta_T).mean())


def _brier(delta_T: Floats) -> float:
    from more_ray.metrics.calibration import sigmoid

    return float((sigmoid(-delta_T) ** 2).mean())


def _by_source(data: Data, delta_T: Floats, measure: Any) -> list[float]:
    return [measure(delta_T[data.test_source_T == one]) for one in range(len(data.names))]


def _resampled(
    data: Data, delta_DT: list[Floats], measure: Any, against_DT: list[Floats] | None = None
) -> Floats:
    """Means over sources for a draw at random and test pairs at random, less another way's."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(data.test_source_T == source) for source in range(len(data.names))]
    found = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        draw = rng.integers(len(delta_DT))
        chosen = [rng.choice(row_t, len(row_t)) for row_t in rows]
        found[number] = np.mean([measure(delta_DT[draw][row_t]) for row_t in chosen])
        if against_DT:
            found[number] -= np.mean([measure(against_DT[draw][row_t]) for row_t in chosen])
    return found


def differences(data: Data, draws: list[Deltas]) -> list[dict[str, Any]]:
    """Shared + drift less MultiTask, and left out less one head for all, on the same pairs."""
    compared = [
        (mine, theirs)
        for mine in ("drift", "drift + T", "drift + T, posterior")
        for theirs in ("proportional", "proportional + T", "uniform + T", "more, by steps + T")
    ]
    compared += [
        ("drift, left out, unknown", f"{theirs}, left out")
        for theirs in ("uniform", "uniform + T", "proportional + T", "more, by steps + T")
    ]
    compared += [("more, by steps", "uniform, by steps"), ("more, by steps + T", "uniform + T")]
    rows = []
    for mine, theirs in compared:
        row: dict[str, Any] = {"way": mine, "less": theirs}
        for name, measure in (("accuracy", _accuracy), ("nll", _nll), ("brier", _brier)):
            one_DT, other_DT = ([draw[way] for draw in draws] for way in (mine, theirs))
            found = _resampled(data, one_DT, measure, other_DT)
            low, high = np.quantile(found, [0.025, 0.975])
            row[name], row[f"{name}, 95%"] = float(found.mean()), f"{low:+.4f} to {high:+.4f}"
        rows.append(row)
    return rows


def further_rows(data: Data, draws: list[Draw]) -> list[dict[str, Any]]:
    """Accuracy and ECE of every head on the further test sets, means over draws."""
    from more_ray.metrics.calibration import ece

    return [
        {
            "set": name,
            "pairs": len(data.further[name]),
            "head": head,
            "accuracy": float(np.mean([_accuracy(draw.further[name][head]) for draw in draws])),
            "ece": float(np.mean([ece(draw.further[name][head]) for draw in draws])),
            "nll": float(np.mean([_nll(draw.further[name][head]) for draw in draws])),
        }
        for name in data.further
        for head in draws[0].further[name]
    ]


def _row(name: str, found: dict[str, Any]) -> dict[str, Any]:
    return {"scheme": name, **found}


if __name__ == "__main__":
    main()
