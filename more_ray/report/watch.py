"""What to watch out for with a model, in a line each."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from more_ray.report.length_bias import length_bias
from more_ray.report.models import Model
from more_ray.report.words import listed

MUCH = 0.1
"""A share of texts that matters."""


def watched(model: Model) -> Iterator[str]:
    """The remarks that apply; none if all is well."""
    if weak := model.unserved:
        yield f"On {listed(weak)} it is not shown to beat guessing."
    if bias := length_bias(list(model.first.scores.values())):
        yield bias
    counts = (model.first.environment or {}).get("data") or {}
    leaked = sum(count["leaked"] for count in counts.values())
    settings = yaml.safe_load(model.first.config or "") or {}
    if leaked and settings.get("data", {}).get("on_leak") != "drop":
        yield (
            f"{leaked:,} training pairs have the prompt of a test pair, which flatters it "
            "(data.on_leak=drop)."
        )
    for name, count in counts.items():
        lengths = count.get("lengths")
        if lengths and lengths["cut"] >= MUCH * lengths["texts"]:
            yield (
                f"{lengths['cut'] / lengths['texts']:.0%} of the texts of {name} lost their "
                "beginning (data.max_length)."
            )
