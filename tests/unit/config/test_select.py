"""Whom a choice is to please, as settings."""

from __future__ import annotations

from typing import Any

import pytest

from more_ray.config import AlignConfig, RejectionSamplingConfig
from more_ray.config.reading import settings
from more_ray.errors import UserError


def sampling(**changes: Any) -> RejectionSamplingConfig:
    return settings(RejectionSamplingConfig, {"prompts": "FILE", "reward.path": "model"}, changes)


@pytest.mark.parametrize("by", ["shared", "worst", "mean", "nash", "source=helpful", "source=a=b"])
def test_every_rule(by: str) -> None:
    assert sampling(**{"select.by": by}).select.by == by


@pytest.mark.parametrize("by", ["best", "source", "source=", "", "Worst"])
def test_another_rule_is_refused_with_those_that_there_are(by: str) -> None:
    with pytest.raises(UserError) as refused:
        sampling(**{"select.by": by})
    assert str(refused.value) == (
        f"select.by: got {by!r}, allowed: shared, source=NAME, worst, mean, nash"
    )


def test_caution_is_not_negative() -> None:
    with pytest.raises(UserError, match=r"select\.caution: got -1, allowed: float >= 0"):
        sampling(**{"select.caution": -1})


@pytest.mark.parametrize("changes", [{"select.by": "worst"}, {"select.caution": 1}])
def test_a_source_is_named_in_one_way(changes: dict[str, Any]) -> None:
    sampling(**{"reward.source": "helpful"})
    with pytest.raises(UserError, match=r"^reward\.source: helpful given, .* either reward"):
        sampling(**{"reward.source": "helpful"}, **changes)


def test_choices_of_align_need_heads() -> None:
    given = {"prompts": "FILE", "eval_prompts": "FILE"}
    choices = {"choices": ["shared", "worst", "source=helpful"]}
    with pytest.raises(
        UserError, match=r"^choices: worst needs reward\.model\.heads=shared\+drift"
    ):
        settings(AlignConfig, given, choices)
    with pytest.raises(UserError, match=r"^choices: got 'best', allowed: shared, source=NAME"):
        settings(AlignConfig, given, {"choices": ["shared", "best"]})
    heads = {"reward.model.heads": "shared+drift"}
    assert settings(AlignConfig, given, {**choices, **heads}).choices == choices["choices"]
