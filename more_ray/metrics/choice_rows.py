"""The table of who gains and who loses by each rule of choosing among samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from more_ray.metrics.written import with_interval

ABOUT_CHOICES = (
    "What the best answer by each rule gains over the mean of its prompt's answers, by each head: "
    "means over prompts, with 95% intervals, in nats where the heads are calibrated. least: the "
    "source that gains least, prompt by prompt. A reward flatters what it chose itself: look at "
    "the others."
)


def choice_rows(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row per rule, from `summary.json`; none where the model has one head, or of an earlier
    version."""
    choices = [one for one in summary.get("choices", []) if one["sources"]]
    cautious = any(one["caution"] for one in choices)
    return [
        {
            "best by": one["by"],
            **({"caution": f"{one['caution']:g}"} if cautious else {}),
            "shared": gain_text(one["shared"]),
            **{name: gain_text(gain) for name, gain in one["sources"].items()},
            "least": gain_text(one["least"]),
        }
        for one in choices
    ]


def gain_text(gain: Mapping[str, Any]) -> str:
    """`+0.31 (+0.25 to +0.37)`."""
    return with_interval(gain["mean"], gain["ci"], "+.2f", " to ")
