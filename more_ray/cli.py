"""The command line of every job: `[--config FILE] [dotted.key=value ...]` into a pydantic model.

A mistake ends in one line per error on stderr and exit status 2, before anything is started.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

ConfigT = TypeVar("ConfigT", bound=BaseModel)
Tree = dict[str, Any]

LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 120


class UsageError(Exception):
    """What is wrong, in one line."""


def load_config(model: type[ConfigT], argv: list[str], description: str) -> ConfigT:
    """Build `model` from its defaults, the file of `--config` and then the overrides in `argv`.

    `--help` prints every key and exits with 0; any mistake is printed and exits with 2.
    """
    if {"-h", "--help"} & set(argv):
        _print_help(model, description)
        raise SystemExit(0)

    fields = {key: field for key, field, _ in _walk(model)}
    files: list[str] = []
    overrides: list[Tree] = []
    errors: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        key, equals, text = argument.partition("=")
        try:
            if key == "--config":
                files.append(text if equals else next(arguments, ""))
            elif argument.startswith("-"):
                allowed = "--config FILE, --help and dotted.key=value"
                raise UsageError(f"{argument}: unknown flag, allowed: {allowed}")
            elif not (key and equals):
                raise UsageError(f"{argument}: not an override, allowed: dotted.key=value")
            else:
                overrides.append(_override(key, text, fields.get(key)))
        except UsageError as error:
            errors.append(str(error))
    if len(files) > 1 or "" in files:
        errors.append("--config: takes one file, once")
    if errors:
        _fail(errors)

    try:
        values = _presets(model)
        for tree in [*(_read_file(Path(file)) for file in files), *overrides]:
            values = _merge(values, tree)
        return model.model_validate(values)
    except UsageError as error:
        _fail([str(error)])
    except ValidationError as error:
        _fail([_explain(detail, values, fields) for detail in error.errors()])


def dump_config(config: BaseModel) -> str:
    """The resolved config as YAML, its keys in definition order; `--config` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _fail(errors: list[str]) -> NoReturn:
    for error in dict.fromkeys(errors):  # the members of a union each report the same key
        print("error: " + " ".join(error.split()), file=sys.stderr)
    raise SystemExit(2)


# Values: YAML text, files, and what overrides what.


def _parse_yaml(text: str, where: str) -> Any:
    try:
        value = yaml.safe_load(text)
        json.dumps(value, default=str)  # refuses what is YAML but no tree: `&a [*a]`
        return value
    except Exception as error:  # not only YAMLError: `2024-99-99` and `!!bool x` raise others
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1}, {error.problem}" if mark else error
        raise UsageError(f"{where}: not YAML: {reason}") from error


def _override(key: str, text: str, field: FieldInfo | None) -> Tree:
    value = _parse_yaml(text, f"{key}={text}")
    is_text = field is not None and str in _members(field.annotation)
    if is_text and not isinstance(value, str | list | dict | None):
        value = text  # a commit such as 12e4567 is no number
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def _read_file(path: Path, extended_by: tuple[Path, ...] = ()) -> Tree:
    """The tree of a YAML file, merged over the file that its top-level `base` names."""
    try:
        tree = _parse_yaml(path.expanduser().read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a path that no file can have
        raise UsageError(f"{path}: {error}") from error
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise UsageError(f"{path}: got {SHORT.repr(tree)}, allowed: a mapping of keys")
    base = tree.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise UsageError(f"{path}: base: got {SHORT.repr(base)}, allowed: a path")
    if path.resolve() in extended_by:
        raise UsageError(f"{path}: extends itself through base")
    return _merge(_read_file(path.parent / base, (*extended_by, path.resolve())), tree)


def _merge(base: Tree, over: Tree) -> Tree:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _presets(model: type[BaseModel]) -> Tree:
    """What the model's default sections set; given as a dict, pydantic would forget it."""
    tree = {}
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            tree[name] = _merge(_presets(type(default)), default.model_dump(exclude_unset=True))
    return tree


# What a key is and allows, for help and for error lines.


def _walk(
    model: type[BaseModel], section: Any = None, prefix: str = ""
) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Every dotted key of `model`, its sections included: (key, field, default)."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(section, BaseModel):
            default = getattr(section, name)
        yield prefix + name, field, default
        for inner in filter(_is_model, _members(field.annotation)):
            yield from _walk(inner, default, f"{prefix}{name}.")


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _members(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _type_text(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_text(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " or ".join(map(_type_text, arguments))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_type_text, arguments))}]"
    if annotation is NoneType:
        return "null"
    if _is_model(annotation):
        return "section"
    return getattr(annotation, "__name__", str(annotation))


def _allowed(field: FieldInfo) -> str:
    """Type and limits of a field: `float > 0, < 1`, `int >= 1 or null`, `linear | cosine`."""
    members = _members(field.annotation)
    limits = [
        f"{LIMITS.get(name, name)} {limit}"
        for constraint in field.metadata
        if isinstance(constraint, annotated_types.BaseMetadata)
        for name, limit in dataclasses.asdict(constraint).items()
        if limit is not None
    ]
    text = " or ".join(_type_text(member) for member in members if member is not NoneType)
    text = f"{text} {', '.join(limits)}".strip()
    return f"{text} or null" if NoneType in members else text


def _explain(error: Any, values: Tree, fields: dict[str, FieldInfo]) -> str:
    """One line for one of pydantic's errors: which key, what was given, what is allowed."""
    location = [str(part) for part in error["loc"]]
    if error["type"] in ("extra_forbidden", "invalid_key"):
        return _unknown_key(".".join(location), fields)
    while location and ".".join(location) not in fields:  # list indices and names of union members
        location.pop()
    key = ".".join(location)
    if error["type"] in ("value_error", "assertion_error"):  # raised by a validator of the model's
        message = str(error["ctx"]["error"])
        is_whole = not key or any(map(_is_model, _members(fields[key].annotation)))
        return message if is_whole else f"{key}: {message}"
    allowed = _allowed(fields[key])
    if error["type"] == "missing" and len(location) == len(error["loc"]):
        return f"{key}: required, allowed: {allowed}"
    if error["type"] == "finite_number":
        allowed = f"finite {allowed}"
    given: Any = values
    for name in location:
        given = given[name]
    return f"{key}: got {SHORT.repr(given)}, allowed: {allowed}"


def _unknown_key(key: str, fields: dict[str, FieldInfo]) -> str:
    by_name = {known.rpartition(".")[2]: known for known in fields}
    name = key.rpartition(".")[2]
    near = [by_name[name]] if name in by_name else get_close_matches(key, fields, 1)
    near = near or [by_name[match] for match in get_close_matches(name, by_name, 1)]
    hint = f"nearest known key: {near[0]}" if near else "--help lists the known keys"
    return f"{key}: unknown key, {hint}"


def _print_help(model: type[BaseModel], description: str) -> None:
    console = Console(highlight=False)
    usage = f"usage: python {sys.argv[0]} [--config FILE] [dotted.key=value ...]"
    console.print(Text(usage), Text(f"\n{description}\n"), sep="\n")
    for key, field, default in _walk(model):
        line = Text.assemble((key, "bold cyan"), "  ", (_allowed(field), "green"))
        if default is PydanticUndefined:
            line.append("  required", "bold red")
        elif not isinstance(default, BaseModel):
            shown = (
                default
                if isinstance(default, str) and default
                else json.dumps(default, default=str)
            )
            line.append(f"  = {shown}", "yellow")
        console.print(line)
        if field.description:
            docstring = Text(" ".join(field.description.split()))
            console.print(Padding(docstring, (0, 0, 0, 4), expand=False))
