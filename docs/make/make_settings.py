"""Writes docs/settings.md: every key of every verb, from the classes of more_ray.config.

python docs/make/make_settings.py
"""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from more_ray import config as configs
from more_ray.commands import VERBS
from more_ray.config.base import Section, sections_of
from more_ray.config.endpoint import RequestConfig
from more_ray.config.reading import allowed

PAGE = Path(__file__).parents[1] / "settings.md"
TITLES: dict[type[BaseModel], str] = {
    configs.RunConfig: "A run",
    configs.DataConfig: "Data",
    configs.SimulatorConfig: "The simulator",
    configs.ModelConfig: "A model",
    configs.LoraConfig: "Low-rank updates",
    configs.ObjectiveConfig: "The objective",
    configs.OptimizerConfig: "The optimizer",
    configs.TrainConfig: "Training",
    configs.LogConfig: "Logs",
    configs.EvaluationConfig: "An evaluation",
    configs.CalibrationConfig: "A calibration",
    configs.SweepConfig: "A sweep",
    configs.ServeConfig: "A service",
    configs.RejectionSamplingConfig: "Rejection sampling",
    configs.PolicyConfig: "The policy",
    configs.SamplingConfig: "How it answers",
    configs.SelectConfig: "Which answer is kept",
    configs.FineTuneConfig: "Fine-tuning",
    configs.JudgeConfig: "A comparison by a judge",
    configs.JudgeEndpoint: "The judge",
    RequestConfig: "Requests to an endpoint",
    configs.AlignConfig: "The chain",
    configs.ReportConfig: "A report",
}
"""The order and the headings of what has keys."""
INTRODUCTION = """\
# Settings

Every verb takes `[--config FILE] [dotted.key=value ...]`. FILE is YAML with the same keys, nested.
What stands on the command line counts more, and of several the last. In a file, `base: OTHER.yaml`
takes the settings of another file first. In Python, `more_ray.train("mine.yaml", data={"root":
"FOLDER"}, **{"optimizer.lr": 1e-4})` does the same. `more-ray VERB --help` shows a verb's keys.

A mistake in a key or a value ends in one line that says what is allowed, before anything starts.
Keys that several verbs have stand here once, with the places where they are. This page is made
from the code by `python docs/make/make_settings.py`.
"""


class Place(NamedTuple):
    """Where a section is: `run.data.` of `sweep`."""

    prefix: str
    verb: str


def text() -> str:
    """The page."""
    places: dict[type[BaseModel], list[Place]] = {}
    for verb, (model, _) in VERBS.items():
        for section, prefix in sections(model, ""):
            places.setdefault(section, []).append(Place(prefix, verb))
    parts = [INTRODUCTION, verbs_table(places)]
    for section in sorted(places, key=list(TITLES).index):
        parts.append(f"## {TITLES[section]}\n\n{where(places[section])}\n")
        prefix = usual(places[section])
        parts += [entry(prefix + name, field) for name, field in own_fields(section)]
    return "\n".join(parts)


def usual(places: list[Place]) -> str:
    """The shortest prefix, and of several the one in most verbs."""
    counts = Counter(prefix for prefix, _ in places)
    return min(counts, key=lambda prefix: (prefix.count("."), -counts[prefix]))


def sections(model: type[BaseModel], prefix: str) -> Iterator[tuple[type[BaseModel], str]]:
    """The classes whose fields a model has, its bases and the sections that it holds included."""
    for kind in model.__mro__:
        if issubclass(kind, Section) and own_fields(kind):
            yield kind, prefix
    for name, field in model.model_fields.items():
        for inner in sections_of(field.annotation):
            yield from sections(inner, f"{prefix}{name}.")


def own_fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """The fields that a class itself declares."""
    declared = inspect.get_annotations(model)
    return [(name, field) for name, field in model.model_fields.items() if name in declared]


def verbs_table(places: dict[type[BaseModel], list[Place]]) -> str:
    lines = ["| verb | what it does | its keys |", "|---|---|---|"]
    for verb, (_, command) in VERBS.items():
        sentence, _, _ = (inspect.getdoc(command) or "").partition("\n\n")
        own = [section for section in places if Place("", verb) in places[section]]
        links = ", ".join(link(section) for section in sorted(own, key=list(TITLES).index))
        lines.append(f"| `{verb}` | {' '.join(sentence.split())} | {links} |")
    return "\n".join(lines) + "\n"


def where(places: list[Place]) -> str:
    """The verbs that have a section, and what its keys begin with there."""
    verbs: dict[str, list[str]] = {}
    for prefix, verb in places:
        verbs.setdefault(prefix, []).append(f"`{verb}`")
    prefixes: dict[str, list[str]] = {}
    for prefix, of in sorted(verbs.items(), key=lambda item: len(item[0])):
        prefixes.setdefault(", ".join(of), []).append(f"`{prefix}*`")
    said = [
        of if before == ["`*`"] else f"{of} ({', '.join(before)})"
        for of, before in prefixes.items()
    ]
    return f"Keys of {'; '.join(said)}."


def entry(key: str, field: FieldInfo) -> str:
    """A key: what is allowed, its default, its meaning."""
    default = field.get_default(call_default_factory=True)
    inner = sections_of(field.annotation)
    if inner and (isinstance(default, BaseModel) or default is PydanticUndefined):
        kind = ", ".join(f"section: {link(section)}" for section in inner)
        shown = presets(default) if isinstance(default, BaseModel) else "required"
    else:
        kind, shown = f"`{allowed(field)}`", f"default `{value(default)}`"
        if inner:
            kind = f"{' or '.join(f'section: {link(section)}' for section in inner)}, or null"
        if default is PydanticUndefined:
            shown = "required"
    facts = "; ".join(fact for fact in (kind, shown) if fact)
    return f"### {key}\n\n{facts}\n\n{' '.join((field.description or '').split())}\n"


def link(section: type[BaseModel]) -> str:
    own = next(kind for kind in section.__mro__ if kind in TITLES)
    return f"[{TITLES[own]}](#{TITLES[own].lower().replace(' ', '-')})"


def presets(section: BaseModel) -> str:
    """What a section's default sets besides the defaults of its own keys."""
    changed = [
        f"`{name}={value(getattr(section, name))}`"
        for name, field in type(section).model_fields.items()
        if name in section.model_fields_set
        and getattr(section, name) != field.get_default(call_default_factory=True)
    ]
    return f"here with {', '.join(changed)}" if changed else ""


def value(default: Any) -> str:
    return default if isinstance(default, str) and default else json.dumps(default, default=str)


if __name__ == "__main__":
    PAGE.write_text(text())
