"""What a new scheme takes: a function that makes its weighting, and a row of `SCHEMES`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest

from more_ray.config import ObjectiveConfig
from more_ray.config.objective import LossName, SchemeName
from more_ray.config.run import ComparedName
from more_ray.objective.losses import LOSSES
from more_ray.objective.schemes import SCHEMES, Scheme, Settings, make_weighting
from more_ray.objective.weighting import Fixed, Weighting


def all_to_the_largest(settings: Settings, names: Sequence[str], sizes: Sequence[int]) -> Weighting:
    return Fixed(np.eye(len(names))[np.argmax(sizes)])


def test_a_function_and_a_row_make_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Scheme(all_to_the_largest, "gives all to the largest source")
    monkeypatch.setitem(SCHEMES, "largest", row)
    settings = ObjectiveConfig().model_copy(update={"scheme": "largest"})
    weighting = make_weighting(settings, ("a", "b"), (10, 30))
    assert isinstance(weighting, Fixed)
    assert weighting.lam_K.tolist() == [0, 1]


def test_settings_allow_what_is_registered_and_say_what_it_does() -> None:
    assert get_args(get_args(SchemeName)[0]) == tuple(SCHEMES)
    assert get_args(LossName) == tuple(LOSSES)
    assert get_args(get_args(ComparedName)[0])[:3] == ("more", "uniform", "proportional")
    for key, registered in {"scheme": SCHEMES, "loss": LOSSES}.items():
        text = ObjectiveConfig.model_fields[key].description
        assert text
        assert all(row.help in text for row in registered.values())


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if not loss.has_gradients])
@pytest.mark.parametrize("scheme", ["more", "torchjd:MGDA"])
def test_what_needs_gradients_is_refused_where_there_are_none(loss: str, scheme: str) -> None:
    with pytest.raises(ValueError, match=f"{loss} allows objective.scheme=uniform, proportional"):
        ObjectiveConfig(loss=loss, scheme=scheme)
