from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from linear_world import drawn_heads, labelled, world_pairs

from more_ray.calibrate.choose import FACTOR, choose_ridge, fold_of
from more_ray.calibrate.heads import fit_heads
from more_ray.calibrate.objective import loss
from more_ray.calibrate.pairs import Pairs, make_pairs
from more_ray.errors import DataError
from more_ray.model.heads_file import Ridge

HIDDEN = 8


def test_a_fold_depends_on_the_prompt_and_the_seed_alone() -> None:
    prompt_N = np.random.default_rng(0).integers(2**63, size=10_000)
    fold_N = fold_of(prompt_N, 5, seed=0)
    assert (np.abs(np.bincount(fold_N, minlength=5) - 2_000) < 200).all()
    np.testing.assert_array_equal(fold_of(prompt_N[::-1], 5, seed=0), fold_N[::-1])
    agree = np.mean(fold_of(prompt_N, 5, seed=1) == fold_N)
    assert agree == pytest.approx(0.2, abs=0.02)
    # Prompts that are only numbered are spread as well.
    assert (np.abs(np.bincount(fold_of(np.arange(10_000), 5, 0)) - 2_000) < 200).all()


def world(drift: float) -> tuple[Pairs, np.ndarray]:
    rng = np.random.default_rng(0)
    pairs = world_pairs(rng, drawn_heads(rng, 3, HIDDEN, 0.7, drift), [300, 300, 300])
    return pairs, np.arange(900) // 3


def test_the_choice_is_the_least_of_what_was_tried_and_of_its_neighbours() -> None:
    pairs, prompt_N = world(drift=0.4)
    choice = choose_ridge(pairs, prompt_N)
    assert choice.tried[choice.ridge] == pytest.approx(min(choice.tried.values()), abs=1e-4)
    around = [
        pytest.approx((choice.ridge.shared * one, choice.ridge.drift * other))
        for one, other in ((FACTOR, 1), (1 / FACTOR, 1), (1, FACTOR), (1, 1 / FACTOR))
    ]
    tried = [(ridge.shared, ridge.drift) for ridge in choice.tried]
    assert all(any(one == point for one in tried) for point in around)


def test_populations_alike_get_a_stiffer_drift() -> None:
    alike, different = (choose_ridge(*world(drift)).ridge.drift for drift in (0.0, 1.0))
    assert alike > 10 * different


def test_held_out_differences_are_of_heads_that_did_not_see_the_prompt() -> None:
    pairs, prompt_N = world(drift=0.4)
    choice = choose_ridge(pairs, prompt_N, folds=4, seed=3)
    assert pairs.count_N @ loss(choice.own_N, pairs.label_N) == choice.tried[choice.ridge]
    fold_N = fold_of(prompt_N, 4, seed=3)
    heads = fit_heads(pairs.keeping(fold_N != 2), choice.ridge)
    held_out = np.flatnonzero(fold_N == 2)
    own_n = (pairs.dz_NH * heads.own_KH[pairs.source_N]).sum(axis=1)[held_out]
    # The fits of the choice leave the last Newton steps out.
    np.testing.assert_allclose(choice.own_N[held_out], own_n, atol=1e-3)
    np.testing.assert_allclose(
        choice.shared_N[held_out], (pairs.dz_NH @ heads.shared_H)[held_out], atol=1e-3
    )


def test_features_of_another_scale_choose_the_same_heads() -> None:
    pairs, prompt_N = world(drift=0.4)
    one = choose_ridge(pairs, prompt_N)
    other = choose_ridge(replace(pairs, dz_NH=10 * pairs.dz_NH), prompt_N)
    assert other.ridge.drift == pytest.approx(100 * one.ridge.drift)
    np.testing.assert_allclose(other.own_N, one.own_N, atol=1e-3)


def test_a_source_with_one_prompt_is_one_line() -> None:
    rng = np.random.default_rng(0)
    pairs = make_pairs(labelled(rng, 40, np.ones(2)), np.arange(40) % 2, ["many", "one"])
    prompt_N = np.where(pairs.source_N == 1, 7, np.arange(40))
    with pytest.raises(
        DataError,
        match=r"^source 'one' has too few prompts to cross-validate: all are in one fold of 5",
    ):
        choose_ridge(pairs, prompt_N)


def test_ridges_of_the_truth_are_about_as_good() -> None:
    """Those of the prior that drew the heads: `1 / (N variance)`."""
    pairs, prompt_N = world(drift=0.4)
    choice = choose_ridge(pairs, prompt_N)
    truth = Ridge(1 / (900 * 0.7**2), 1 / (900 * 0.4**2))
    fold_N = fold_of(prompt_N, 5, seed=0)
    own_N = np.empty(900)
    for fold in range(5):
        heads = fit_heads(pairs.keeping(fold_N != fold), truth)
        mine = fold_N == fold
        own_N[mine] = (pairs.dz_NH * heads.own_KH[pairs.source_N]).sum(axis=1)[mine]
    assert choice.tried[choice.ridge] < pairs.count_N @ loss(own_N, pairs.label_N) + 0.003
