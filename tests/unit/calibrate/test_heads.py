from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from linear_world import drawn_heads, world_pairs

from more_ray.calibrate.coordinates import Coordinates, Spectrum, pooled_spectrum
from more_ray.calibrate.heads import fit_heads, objective
from more_ray.calibrate.objective import curvature, curvature_times, loss_and_gradient
from more_ray.calibrate.pairs import Pairs, make_pairs
from more_ray.errors import DataError, UserError
from more_ray.model.heads_file import Heads, Ridge

HIDDEN = 7
RIDGE = Ridge(shared=0.01, drift=0.05)


@pytest.fixture
def pairs() -> Pairs:
    rng = np.random.default_rng(0)
    made = world_pairs(rng, drawn_heads(rng, 3, HIDDEN, 1.0, 0.5), [120, 60, 30])
    label_N = np.where(rng.random(210) < 0.2, 0.5, rng.uniform(0.6, 1.0, 210))
    return replace(made, label_N=label_N, weight_N=rng.uniform(0.5, 2.0, 210))


def gradient_norm(pairs: Pairs, ridge: Ridge, heads: Heads, prior_H: object = 0.0) -> float:
    _, grad_H, grad_KH, _ = objective(pairs, ridge, np.zeros(HIDDEN) + prior_H, heads)
    return float(np.sqrt((grad_H**2).sum() + (grad_KH**2).sum()))


def test_the_objective_is_the_formula(pairs: Pairs) -> None:
    heads = drawn_heads(np.random.default_rng(1), 3, HIDDEN, 1.0, 0.5)
    prior_H = np.arange(HIDDEN) / HIDDEN
    expected = RIDGE.shared / 2 * np.sum((heads.shared_H - prior_H) ** 2)
    expected += RIDGE.drift / 2 * np.sum(heads.drift_KH**2)
    for source in range(3):
        mine = pairs.source_N == source
        delta_n = pairs.dz_NH[mine] @ (heads.shared_H + heads.drift_KH[source])
        right_n = 1 / (1 + np.exp(-delta_n))
        y_n = pairs.label_N[mine]
        losses_n = -y_n * np.log(right_n) - (1 - y_n) * np.log(1 - right_n)
        expected += np.average(losses_n, weights=pairs.weight_N[mine]) / 3
    assert objective(pairs, RIDGE, prior_H, heads)[0] == pytest.approx(expected, abs=1e-12)


def test_the_gradient_is_that_of_finite_differences(pairs: Pairs) -> None:
    heads = drawn_heads(np.random.default_rng(1), 3, HIDDEN, 1.0, 0.5)
    _, grad_H, grad_KH, _ = objective(pairs, RIDGE, np.zeros(HIDDEN), heads)
    whole = np.vstack([heads.shared_H, heads.drift_KH])
    for (row, column), expected in np.ndenumerate(np.vstack([grad_H, grad_KH])):
        step = np.zeros_like(whole)
        step[row, column] = 1e-5
        values = [
            objective(pairs, RIDGE, np.zeros(HIDDEN), Heads(moved[0], moved[1:]))[0]
            for moved in (whole + step, whole - step)
        ]
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(expected, abs=1e-9)


def test_the_curvature_is_the_slope_of_the_gradient(pairs: Pairs) -> None:
    rng = np.random.default_rng(1)
    head_KH, step_KH = rng.standard_normal((2, 3, HIDDEN))
    _, _, bend_N = loss_and_gradient(pairs, head_KH)
    ahead, behind = (loss_and_gradient(pairs, head_KH + h * step_KH)[1] for h in (1e-5, -1e-5))
    times_KH = curvature_times(pairs, bend_N, step_KH)
    np.testing.assert_allclose(times_KH, (ahead - behind) / 2e-5, atol=1e-9)
    matrix_HH = curvature(pairs, bend_N, np.flatnonzero(pairs.source_N == 1))
    np.testing.assert_allclose(matrix_HH @ step_KH[1], times_KH[1], atol=1e-12)


@pytest.mark.parametrize("drift_ridge", [1e-3, 1.0, np.inf])
@pytest.mark.parametrize("shared_ridge", [1e-6, 0.1])
def test_the_gradient_is_zero_at_the_optimum(
    pairs: Pairs, shared_ridge: float, drift_ridge: float
) -> None:
    ridge = Ridge(shared_ridge, drift_ridge)
    assert gradient_norm(pairs, ridge, fit_heads(pairs, ridge)) <= 1e-8


def test_features_of_very_different_lengths_are_fitted_as_exactly(pairs: Pairs) -> None:
    """As hidden states are: a few numbers of them are hundreds of times the others."""
    stretched = replace(pairs, dz_NH=pairs.dz_NH * np.geomspace(0.01, 300, HIDDEN))
    assert gradient_norm(stretched, RIDGE, fit_heads(stretched, RIDGE)) <= 1e-8


def test_features_in_single_precision_are_summed_in_double(pairs: Pairs) -> None:
    single = replace(pairs, dz_NH=pairs.dz_NH.astype(np.float32))
    double = replace(single, dz_NH=single.dz_NH.astype(np.float64))
    one, other = fit_heads(single, RIDGE), fit_heads(double, RIDGE)
    np.testing.assert_allclose(one.own_KH, other.own_KH, atol=1e-6)
    assert gradient_norm(double, RIDGE, one) <= 1e-8


def test_coordinates_are_those_of_the_arrow() -> None:
    """`L^-1 M L^-T = 1` for the Hessian M of the supposed curvature; there and back is nothing."""
    rng = np.random.default_rng(0)
    root_HH = rng.standard_normal((4, 4))
    share_K = np.array([0.5, 0.3, 0.2])
    curvature_HH = root_HH @ root_HH.T
    coordinates = Coordinates(Spectrum(*np.linalg.eigh(curvature_HH)), share_K, 0.1, 0.7)

    def hessian_times(w_H: np.ndarray, d_KH: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data_KH = share_K[:, None] * ((w_H + d_KH) @ curvature_HH)
        return data_KH.sum(axis=0) + 0.1 * w_H, data_KH + 0.7 * d_KH

    for u_U in np.eye(16):
        w_H, d_KH = coordinates.heads(u_U)
        np.testing.assert_allclose(coordinates.point(w_H, d_KH), u_U, atol=1e-12)
        np.testing.assert_allclose(coordinates.gradient(*hessian_times(w_H, d_KH)), u_U, atol=1e-12)


def test_any_coordinates_lead_to_the_same_heads(pairs: Pairs) -> None:
    plain = Spectrum(np.ones(HIDDEN), np.eye(HIDDEN))
    one = fit_heads(pairs, RIDGE)
    other = fit_heads(
        pairs, RIDGE, spectrum=plain, start=drawn_heads(np.random.default_rng(3), 3, HIDDEN, 1, 1)
    )
    np.testing.assert_allclose(one.own_KH, other.own_KH, atol=1e-6)


def test_a_start_at_the_optimum_stays_there(pairs: Pairs) -> None:
    heads = fit_heads(pairs, RIDGE)
    again = fit_heads(pairs, RIDGE, start=heads)
    np.testing.assert_allclose(again.shared_H, heads.shared_H, atol=1e-12)


def test_the_order_of_the_sources_does_not_matter(pairs: Pairs) -> None:
    order = np.array([2, 0, 1])
    other = make_pairs(
        pairs.dz_NH,
        np.argsort(order)[pairs.source_N],
        [pairs.names[source] for source in order],
        pairs.share_K[order],
        pairs.label_N,
        pairs.weight_N,
    )
    heads, permuted = fit_heads(pairs, RIDGE), fit_heads(other, RIDGE)
    np.testing.assert_allclose(permuted.shared_H, heads.shared_H, atol=1e-6)
    np.testing.assert_allclose(permuted.drift_KH, heads.drift_KH[order], atol=1e-6)


def test_an_ever_stiffer_drift_ends_at_one_head(pairs: Pairs) -> None:
    one = fit_heads(pairs, Ridge(RIDGE.shared, np.inf))
    stiff = fit_heads(pairs, Ridge(RIDGE.shared, 1e7))
    assert not one.drift_KH.any()
    assert np.abs(stiff.drift_KH).max() < 1e-7
    np.testing.assert_allclose(stiff.shared_H, one.shared_H, atol=1e-6)


def test_one_head_of_one_source_is_ridge_logistic_regression() -> None:
    """The head is where its normal equation says, as without drifts it should."""
    rng = np.random.default_rng(0)
    pairs = world_pairs(rng, drawn_heads(rng, 1, HIDDEN, 1.0, 0.0), [200])
    head_H = fit_heads(pairs, Ridge(0.1, np.inf)).shared_H
    wrong_N = 1 / (1 + np.exp(pairs.dz_NH @ head_H))
    np.testing.assert_allclose(head_H, wrong_N @ pairs.dz_NH / 200 / 0.1, atol=1e-7)


def test_the_shared_head_is_pulled_to_its_prior(pairs: Pairs) -> None:
    prior_H = np.linspace(-2, 2, HIDDEN)
    heads = fit_heads(pairs, Ridge(1e5, 1e5), prior_H)
    np.testing.assert_allclose(heads.shared_H, prior_H, atol=1e-4)
    loose = fit_heads(pairs, RIDGE, prior_H)
    assert gradient_norm(pairs, RIDGE, loose, prior_H) <= 1e-8
    assert np.abs(loose.shared_H - fit_heads(pairs, RIDGE).shared_H).max() > 1e-3


def test_a_soft_label_is_two_weighted_pairs(pairs: Pairs) -> None:
    twice = make_pairs(
        np.concatenate([pairs.dz_NH, -pairs.dz_NH]),
        np.tile(pairs.source_N, 2),
        pairs.names,
        pairs.share_K,
        weight_N=np.concatenate(
            [pairs.weight_N * pairs.label_N, pairs.weight_N * (1 - pairs.label_N)]
        ),
    )
    one, other = fit_heads(pairs, RIDGE), fit_heads(twice, RIDGE)
    np.testing.assert_allclose(one.own_KH, other.own_KH, atol=1e-6)


def test_pairs_that_count_nothing_are_as_good_as_absent(pairs: Pairs) -> None:
    keep_N = np.random.default_rng(0).random(210) < 0.7
    kept = make_pairs(
        pairs.dz_NH[keep_N],
        pairs.source_N[keep_N],
        pairs.names,
        label_N=pairs.label_N[keep_N],
        weight_N=pairs.weight_N[keep_N],
    )
    one, other = fit_heads(pairs.keeping(keep_N), RIDGE), fit_heads(kept, RIDGE)
    np.testing.assert_allclose(one.own_KH, other.own_KH, atol=1e-6)


def test_a_source_left_out_has_no_drift_and_no_say(pairs: Pairs) -> None:
    others_N = pairs.source_N != 1
    others = make_pairs(
        pairs.dz_NH[others_N],
        pairs.source_N[others_N] // 2,
        [pairs.names[0], pairs.names[2]],
        label_N=pairs.label_N[others_N],
        weight_N=pairs.weight_N[others_N],
    )
    one, other = fit_heads(pairs.without(1), RIDGE), fit_heads(others, RIDGE)
    np.testing.assert_allclose(one.shared_H, other.shared_H, atol=1e-6)
    np.testing.assert_allclose(one.drift_KH[1], 0, atol=1e-7)


@pytest.mark.parametrize("ridge", [Ridge(1e-2, 1e-2), Ridge(1e-8, 1e-7), Ridge(1e-8, np.inf)])
def test_the_ridge_holds_separable_pairs(ridge: Ridge) -> None:
    rng = np.random.default_rng(0)
    dz_NH = np.abs(rng.standard_normal((40, HIDDEN)))
    pairs = make_pairs(dz_NH, np.arange(40) % 2, ["one", "other"])
    heads = fit_heads(pairs, ridge)
    assert gradient_norm(pairs, ridge, heads) <= 1e-8
    assert (dz_NH @ heads.own_KH.T > 0).all()


def test_whole_newton_steps_may_lead_away() -> None:
    """Of 31 pairs that heads can nearly separate, with a tiny ridge for the drifts."""
    rng = np.random.default_rng(330)
    dz_NH = 10 ** rng.uniform(-2, 2, 5) * rng.standard_normal((31, 5))
    source_N = rng.permutation(np.repeat(np.arange(4), [8, 8, 12, 3]))
    label_N, weight_N = rng.choice([0.0, 0.5, 0.8, 1.0], 31), rng.uniform(0.1, 3.0, 31)
    pairs = make_pairs(dz_NH, source_N, ["a", "b", "c", "d"], "uniform", label_N, weight_N)
    ridge = Ridge(shared=1.0, drift=1e-4)
    heads = fit_heads(pairs, ridge)
    _, grad_H, grad_KH, _ = objective(pairs, ridge, np.zeros(5), heads)
    assert np.sqrt((grad_H**2).sum() + (grad_KH**2).sum()) <= 1e-8


def test_shares() -> None:
    dz_NH, source_N = np.eye(4), np.array([0, 0, 0, 1])
    for shares, expected in (
        ("uniform", [0.5, 0.5]),
        ("proportional", [0.75, 0.25]),
        ([1, 3], [0.25, 0.75]),
    ):
        pairs = make_pairs(dz_NH, source_N, ["one", "other"], shares)
        np.testing.assert_allclose(pairs.share_K, expected)
        assert pairs.count_N.sum() == pytest.approx(1)


def test_effective_pairs() -> None:
    dz_NH, source_N = np.eye(4), np.array([0, 0, 0, 1])
    assert make_pairs(dz_NH, source_N, ["a", "b"], "proportional").effective == pytest.approx(4)
    assert make_pairs(dz_NH, source_N, ["a", "b"]).effective == pytest.approx(3)
    weighted = make_pairs(dz_NH, source_N, ["a", "b"], weight_N=np.array([1.0, 1.0, 2.0, 5.0]))
    np.testing.assert_allclose(weighted.effective_K, [16 / 6, 1])


def test_bad_input_is_one_line(pairs: Pairs) -> None:
    with pytest.raises(DataError, match=r"^source 'b' has no pairs to calibrate with$"):
        make_pairs(np.eye(2), np.zeros(2, int), ["a", "b"])
    dz_NH = pairs.dz_NH.copy()
    dz_NH[5, 2] = np.nan
    name = pairs.names[pairs.source_N[5]]
    with pytest.raises(
        DataError, match=rf"^features of pair 5 \(source '{name}'\) are not finite$"
    ):
        make_pairs(dz_NH, pairs.source_N, pairs.names)
    alone = make_pairs(np.eye(2), np.zeros(2, int), ["a"])
    with pytest.raises(UserError, match=r"^drifts need two sources or more; there is only 'a'$"):
        fit_heads(alone, RIDGE)
    with pytest.raises(UserError, match=r"^ridges must be above 0, not 0 and 1$"):
        fit_heads(pairs, Ridge(0.0, 1.0))


def test_a_spectrum_of_some_pairs_is_near_that_of_all() -> None:
    rng = np.random.default_rng(0)
    pairs = world_pairs(rng, drawn_heads(rng, 2, 4, 1.0, 0.5), [2_000, 2_000])
    whole_HH = curvature(pairs, pairs.count_N / 4, np.arange(4_000))
    value_H = pooled_spectrum(pairs).value_H
    np.testing.assert_allclose(value_H, np.linalg.eigvalsh(whole_HH), rtol=0.6)
