"""The command line of every job: `[--config FILE] [dotted.key=value ...]` into a pydantic model.

FILE is a path, or the name of one of the files in `config/ready`, such as `pythia-1.4b`.
A mistake ends in one line per error on stderr and exit status 2, before anything is started.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from more_ray.config.base import Tree, members
from more_ray.config.reading import (
    ConfigT,
    allowed,
    at,
    build,
    mistakes,
    parse_yaml,
    read_file,
    walk,
)
from more_ray.errors import UserError

HELP = {"-h", "--help"}


def load_config(
    model: type[ConfigT], argv: list[str], description: str, program: str | None = None
) -> ConfigT:
    """Build `model` from its defaults, the file of `--config` and then the overrides in `argv`.

    `--help` prints every key and exits with 0; any mistake is printed and exits with 2.

    Args:
        program: the command as the user typed it; unset, `python SCRIPT`.
    """
    if HELP & set(argv):
        _print_help(model, description, program or f"python {sys.argv[0]}")
        raise SystemExit(0)
    try:
        return build(model, _trees(model, argv))
    except UserError as error:
        refuse(error)


def refuse(error: UserError) -> NoReturn:
    """Print a mistake on the command line and exit with status 2."""
    for line in str(error).splitlines():
        print(f"error: {line}", file=sys.stderr)
    raise SystemExit(2) from None


@contextmanager
def user_errors() -> Iterator[None]:
    """Show a UserError of the `with` block, or Ctrl-C, without a traceback, and exit with status 1
    or 130."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped; the same command goes on with what is finished", file=sys.stderr)
        raise SystemExit(130) from None


def _trees(model: type[BaseModel], argv: list[str]) -> list[Tree]:
    """The settings in the file and in the overrides."""
    fields = {key: field for key, field, _ in walk(model)}
    files: list[str] = []
    overrides: list[Tree] = []
    wrong: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if key == "--config":
            files.append(text if equals else next(arguments, ""))
        elif argument.startswith("-"):
            flags = "--config FILE, --help and dotted.key=value"
            wrong.append(f"{argument}: unknown flag, allowed: {flags}")
        elif not (key and equals):
            wrong.append(f"{argument}: not an override, allowed: dotted.key=value")
        else:
            try:
                overrides.append(at(key, _value(key, text, fields.get(key))))
            except UserError as error:
                wrong.append(str(error))
    if len(files) > 1 or "" in files:
        wrong.append("--config: takes one file, once")
    if wrong:
        raise mistakes(*wrong)
    return [*(read_file(file) for file in files), *overrides]


def _value(key: str, text: str, field: FieldInfo | None) -> object:
    value = parse_yaml(text, f"{key}={text}")
    is_text = field is not None and str in members(field.annotation)
    if is_text and not isinstance(value, str | list | dict | None):
        return text  # a commit such as 12e4567 is not a number
    return value


def _print_help(model: type[BaseModel], description: str, program: str) -> None:
    console = Console(highlight=False)
    usage = f"usage: {program} [--config FILE] [dotted.key=value ...]"
    console.print(Text(usage), Text(f"\n{description}\n"), sep="\n")
    for key, field, default in walk(model):
        line = Text.assemble((key, "bold cyan"), "  ", (allowed(field), "green"))
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
