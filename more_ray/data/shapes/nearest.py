"""What to say of a file whose records no known shape fits."""

from __future__ import annotations

from collections.abc import Mapping

from more_ray.data.shapes.known import IN_SHORT, PROMPTS, SHAPES, Shape, prompt_of
from more_ray.data.shapes.paths import Paths, Record, each_path, has
from more_ray.data.shapes.preferences import VERDICTS
from more_ray.errors import DataError

COMMON = {*PROMPTS, "text", "role", "label", "labels", "score"}
"""Columns of many kinds of data: these alone are no reason to think of a shape."""
TOLD = ("prompt", "chosen", "rejected", "answers", *VERDICTS)
"""What `data.columns` would name."""


def no_shape(record: Record, source: str, origin: str, columns: Mapping[str, Paths]) -> DataError:
    """The error for a file that begins with this record and is read with these `data.columns`: what
    the nearest shape lacks, or else which shapes there are.
    """
    found = ", ".join(sorted(record)) or "(none)"
    shape = min(SHAPES, key=lambda shape: _distance(shape, record))
    there, missing = _needs(shape, record)
    if set(there) <= COMMON:
        return DataError(f"{origin}: no preference data in columns {found}; allowed: {IN_SHORT}")
    name = "NAME" if "source" in columns else source
    return DataError(
        f"{origin}: has {', '.join(there)}, but no {', '.join(missing)} (columns {found})"
        f"{_remedy(shape, missing, name, columns)}"
    )


def _needs(shape: Shape, record: Record) -> tuple[list[str], list[str]]:
    """What the shape needs: what of it the record has, and what is missing."""
    there = [path for path in shape.needs if has(record, path)]
    return there, [path for path in shape.needs if path not in there]


def _distance(shape: Shape, record: Record) -> tuple[bool, int, int, bool, bool]:
    there, missing = _needs(shape, record)
    answers = [shape.keys[name] for name in ("chosen", "rejected", "answers") if name in shape.keys]
    return (
        set(there) <= COMMON,
        len(missing),
        -len(there),
        not set(there) & set(each_path(answers)),
        "label" not in shape.keys,  # the most usual verdict on two answers
    )


def _remedy(shape: Shape, missing: list[str], name: str, columns: Mapping[str, Paths]) -> str:
    """What `data.columns` would name, COLUMN for what is missing; empty where it cannot say it."""
    keys = {
        key: paths
        for key, paths in shape.keys.items()
        if key in TOLD and set(each_path([paths])) <= set(shape.needs)
    }
    if prompts := [path for path in missing if path in PROMPTS]:
        keys["prompt"] = prompts[0]
    covered = set(missing) <= set(each_path(keys.values()))
    if not covered or shape.prompt is not prompt_of or {"first", "order"} & keys.keys():
        return ""
    if columns.keys() & set(VERDICTS):
        keys = {key: paths for key, paths in keys.items() if key not in VERDICTS}
    said = ", ".join(
        f"{key}: {_written(paths, missing)}" for key, paths in {**keys, **columns}.items()
    )
    others = "another" if len(missing) == 1 else "others"
    return f"; data.columns={{{name}: {{{said}}}}} names {others}"


def _written(paths: Paths, missing: list[str]) -> str:
    if isinstance(paths, list):
        return f"[{', '.join(_written(path, missing) for path in paths)}]"
    return "COLUMN" if paths in missing else paths
