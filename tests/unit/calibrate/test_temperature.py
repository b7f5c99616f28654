from __future__ import annotations

import numpy as np
import pytest
from linear_world import labelled

from more_ray.calibrate.temperature import with_temperature
from more_ray.metrics.temperature import fit_temperature


def test_a_head_that_is_too_sure_is_cooled_and_ranks_as_before() -> None:
    rng = np.random.default_rng(0)
    head_H = rng.standard_normal(4)
    dz_NH = labelled(rng, 5_000, head_H)
    too_sure_H = 3 * head_H
    folded_H, temperature = with_temperature(too_sure_H, dz_NH @ too_sure_H)
    assert temperature == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(dz_NH @ folded_H, dz_NH @ too_sure_H / temperature)
    assert fit_temperature(dz_NH @ folded_H) == pytest.approx(1, abs=1e-6)
