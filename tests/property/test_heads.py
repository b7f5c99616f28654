from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from more_ray.calibrate.choose import fold_of
from more_ray.calibrate.heads import fit_heads, objective
from more_ray.calibrate.pairs import Pairs, make_pairs
from more_ray.calibrate.posterior import laplace
from more_ray.model.heads_file import Ridge

ridges = st.floats(-4, 2).map(lambda exponent: 10**exponent)


@st.composite
def some_pairs(draw: st.DrawFn) -> Pairs:
    """Two to four sources with features of any scale, soft labels and weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sources, hidden = draw(st.integers(2, 4)), draw(st.integers(1, 6))
    size_K = [draw(st.integers(1, 30)) for _ in range(sources)]
    scale_H = 10 ** rng.uniform(-2, 2, hidden)
    pairs = sum(size_K)
    return make_pairs(
        scale_H * rng.standard_normal((pairs, hidden)),
        rng.permutation(np.repeat(np.arange(sources), size_K)),
        [str(number) for number in range(sources)],
        draw(st.sampled_from(["uniform", "proportional"])),
        rng.choice([0.0, 0.5, 0.8, 1.0], pairs),
        rng.uniform(0.1, 3.0, pairs),
    )


@settings(deadline=None)
@given(some_pairs(), ridges, ridges)
def test_a_fit_meets_its_optimality_conditions(pairs: Pairs, shared: float, drift: float) -> None:
    ridge = Ridge(shared, drift)
    heads = fit_heads(pairs, ridge)
    prior_H = np.zeros_like(heads.shared_H)
    value, grad_H, grad_KH, _ = objective(pairs, ridge, prior_H, heads)
    assert np.sqrt((grad_H**2).sum() + (grad_KH**2).sum()) <= 1e-8
    # The ridges' pulls cancel: what the sources' drifts leave is the shared head.
    np.testing.assert_allclose(
        drift * heads.drift_KH.sum(axis=0), shared * heads.shared_H, atol=1e-7
    )
    rng = np.random.default_rng(0)
    step = 0.1 * rng.standard_normal(heads.drift_KH.shape)
    moved = type(heads)(heads.shared_H + step[0], heads.drift_KH + step)
    assert objective(pairs, ridge, prior_H, moved)[0] >= value


@settings(deadline=None)
@given(some_pairs(), ridges, ridges)
def test_every_head_has_a_covariance(pairs: Pairs, shared: float, drift: float) -> None:
    ridge = Ridge(shared, drift)
    posterior = laplace(pairs, fit_heads(pairs, ridge), ridge)
    for factor_HH in (posterior.shared_HH, *posterior.own_KHH):
        assert np.isfinite(factor_HH).all()
        assert (np.diag(factor_HH) > 0).all()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1), st.integers(2, 10), st.integers(0, 99))
def test_a_prompt_has_one_fold(prompts: list[int], folds: int, seed: int) -> None:
    prompt_N = np.array(prompts * 2, dtype=np.uint64)
    fold_N = fold_of(prompt_N, folds, seed)
    assert ((fold_N >= 0) & (fold_N < folds)).all()
    np.testing.assert_array_equal(fold_N[: len(prompts)], fold_N[len(prompts) :])
