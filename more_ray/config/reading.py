"""Settings from YAML files, dicts and overrides; the error for a mistake is a line that says which
key, what was given and what is allowed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from more_ray.config.base import Section, Tree, members, section_at, sections_of
from more_ray.errors import UserError

ConfigT = TypeVar("ConfigT", bound=BaseModel)

LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "of length >="}
UNKNOWN = ("extra_forbidden", "invalid_key")
"""pydantic's names for a key that there is not."""
READY = Path(__file__).parent / "ready"
SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 120


def mistakes(*lines: str) -> UserError:
    """An error with a line per mistake."""
    # The members of a union each report the same key.
    return UserError("\n".join(" ".join(line.split()) for line in dict.fromkeys(lines)))


def settings(
    model: type[ConfigT], given: str | Path | Tree | BaseModel | None, changes: Tree
) -> ConfigT:
    """Settings of type `model` from what a Python caller gives.

    Args:
        given: a YAML file, a tree, or settings.
        changes: what to change in it: sections (trees or settings) or values, by dotted keys.

    Raises:
        UserError: as `build` and `read_file` do.
    """
    if isinstance(given, model) and not changes:
        return given
    trees = [at(key, value) for key, value in changes.items()]
    if isinstance(given, BaseModel):
        return build(model, trees, given)
    if isinstance(given, dict):
        trees = [*(at(str(key), value) for key, value in given.items()), *trees]
    elif given is not None:
        trees.insert(0, read_file(given))
    return build(model, trees)


def build(model: type[ConfigT], trees: Sequence[Tree], given: BaseModel | None = None) -> ConfigT:
    """`model` from its defaults or from `given`, overridden by the trees, the last one first.

    Raises:
        UserError: an unknown key, or a value that is not allowed.
    """
    values = _set_in(given) if given else _presets(model)
    for tree in trees:
        values = _merge(values, renamed(model, tree))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fields = {key: field for key, field, _ in walk(model)}
        raise mistakes(*(explain(mistake, values, fields) for mistake in error.errors())) from error


def read_file(name: str | Path, folder: Path = Path(), extended_by: tuple[Path, ...] = ()) -> Tree:
    """The tree of a YAML file, merged over the file that its top-level `base` names.

    Args:
        name: a path, or the name of a ready config where there is no such file.
        folder: what a relative path starts from.

    Raises:
        UserError: there is no such file, or it is not YAML.
    """
    path = folder / name
    ready = {} if path.is_file() else ready_configs()
    path = ready.get(str(name), path)
    try:
        tree = parse_yaml(path.expanduser().read_text(encoding="utf-8"), str(path))
    except OSError as error:
        near = get_close_matches(str(name), ready, 1)
        hint = f", nearest ready config: {near[0]}" if near else ""
        raise mistakes(f"{path}: {error.strerror}{hint}") from error
    except ValueError as error:  # not UTF-8, or a path that no file can have
        raise mistakes(f"{path}: {error}") from error
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise mistakes(f"{path}: got {SHORT.repr(tree)}, allowed: a mapping of keys")
    base = tree.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise mistakes(f"{path}: base: got {SHORT.repr(base)}, allowed: a path")
    if path.resolve() in extended_by:
        raise mistakes(f"{path}: extends itself through base")
    return _merge(read_file(base, path.parent, (*extended_by, path.resolve())), tree)


def ready_configs() -> dict[str, Path]:
    """The files that come with this package, by their names for `--config`."""
    files = sorted(READY.rglob("*.yaml"))
    return {file.relative_to(READY).as_posix().removesuffix(".yaml"): file for file in files}


def parse_yaml(text: str, where: str) -> Any:
    try:
        value = yaml.safe_load(text)
        json.dumps(value, default=str)  # refuses YAML that is not a tree: `&a [*a]`
        return value
    except Exception as error:  # not only YAMLError: `2024-99-99` and `!!bool x` raise others
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        reason = f"line {mark.line + 1}, {problem}" if mark else error
        raise mistakes(f"{where}: not YAML: {reason}") from error


def at(key: str, value: Any) -> Tree:
    """The tree with a single value, at a dotted key."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def _merge(base: Tree, over: Tree) -> Tree:
    merged = dict(base)
    for key, value in over.items():
        below = base.get(key)
        if isinstance(value, dict) and isinstance(below, dict | BaseModel):
            value = _merge(_set_in(below) if isinstance(below, BaseModel) else below, value)
        merged[key] = value
    return merged


def _presets(model: type[BaseModel]) -> Tree:
    """The values in default sections, which pydantic forgets where a section is given as a dict."""
    fields = model.model_fields.items()
    return _sections((name, field.get_default(call_default_factory=True)) for name, field in fields)


def _set_in(section: BaseModel) -> Tree:
    """The values set in a section, by its caller or by default in the sections that it holds."""
    set_here = {name: value for name, value in section if name in section.model_fields_set}
    return set_here | _sections(section)


def _sections(values: Iterable[tuple[str, Any]]) -> Tree:
    return {name: _set_in(value) for name, value in values if isinstance(value, BaseModel)}


def renamed(model: type[BaseModel], tree: Tree) -> Tree:
    """The tree with keys of earlier versions renamed; of two names for a key the later counts."""
    names = model.renamed if issubclass(model, Section) else {}
    result = {}
    for key, value in tree.items():
        name = names.get(key, key)
        section = section_at(model, name, value)
        result[name] = renamed(section, value) if section else value
    return result


def today(model: type[BaseModel], key: str) -> str:
    """A dotted key with today's names."""
    tree, names = renamed(model, at(key, None)), []
    while tree:
        ((name, tree),) = tree.items()
        names.append(name)
    return ".".join(names)


# Which keys there are and what they allow, for help and error lines.


def walk(
    model: type[BaseModel], section: Any = None, prefix: str = ""
) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Every dotted key of `model`, its sections included: (key, field, default)."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(section, BaseModel):
            default = getattr(section, name)
        yield prefix + name, field, default
        for inner in sections_of(field.annotation):
            yield from walk(inner, default, f"{prefix}{name}.")


def _type_text(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return f"{_type_text(arguments[0])} {_limits(arguments[1:])}".strip()
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " or ".join(map(_type_text, arguments))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_type_text, arguments))}]"
    if annotation is NoneType:
        return "null"
    if annotation is Ellipsis:
        return "..."
    if sections_of(annotation):
        return "section"
    return getattr(annotation, "__name__", str(annotation))


def allowed(field: FieldInfo) -> str:
    """Type and limits of a field: `float > 0, < 1`, `int >= 1 or null`, `linear | cosine`."""
    types = members(field.annotation)
    text = " or ".join(_type_text(member) for member in types if member is not NoneType)
    text = f"{text} {_limits(field.metadata)}".strip()
    return f"{text} or null" if NoneType in types else text


def _limits(metadata: Iterable[Any]) -> str:
    return ", ".join(
        f"{LIMITS.get(name, name)} {limit}"
        for constraint in metadata
        if isinstance(constraint, annotated_types.BaseMetadata)
        for name, limit in dataclasses.asdict(constraint).items()
        if limit is not None
    )


def _location_of(error: Any, fields: Container[str]) -> list[str]:
    """The parts of the key that one of pydantic's errors is about, of a field or an unknown one."""
    location = [str(part) for part in error["loc"]]
    if error["type"] not in UNKNOWN:
        while location and ".".join(location) not in fields:  # list indices, members of unions
            location.pop()
    return location


def explain(error: Any, values: Tree, fields: dict[str, FieldInfo]) -> str:
    """A line for one of pydantic's errors: which key, what was given, what is allowed."""
    location = _location_of(error, fields)
    key = ".".join(location)
    if error["type"] in UNKNOWN:
        return _unknown_key(key, fields)
    if error["type"] in ("value_error", "assertion_error"):  # raised by a validator of `model`
        message = str(error["ctx"]["error"])
        is_section = not key or bool(sections_of(fields[key].annotation))
        return message if is_section else f"{key}: {message}"
    if error["type"] == "missing" and len(location) == len(error["loc"]):
        key = next((known for known in fields if known.startswith(f"{key}.")), key)  # of a section
        return f"{key}: required, allowed: {allowed(fields[key])}"
    limits = allowed(fields[key])
    if error["type"] == "finite_number":
        limits = f"finite {limits}"
    given: Any = values
    for name in location:
        given = given[name]
    return f"{key}: got {SHORT.repr(given)}, allowed: {limits}"


def _unknown_key(key: str, fields: dict[str, FieldInfo]) -> str:
    by_name = {known.rpartition(".")[2]: known for known in fields}
    name = key.rpartition(".")[2]
    near = [by_name[name]] if name in by_name else get_close_matches(key, fields, 1)
    near = near or [by_name[match] for match in get_close_matches(name, by_name, 1)]
    hint = f"nearest known key: {near[0]}" if near else "--help lists the known keys"
    return f"{key}: unknown key, {hint}"
