"""Reward-model training from several human-preference sources on Ray.

The verbs of `more_ray.api` are attributes of this package: `more_ray.train(...)`. Importing it
loads nothing of what they need.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from more_ray.api import (
        align,
        calibrate,
        evaluate,
        finetune,
        judge,
        load,
        prepare,
        report,
        sample,
        serve,
        sweep,
        train,
    )
    from more_ray.errors import UserError

__all__ = [
    "UserError",
    "align",
    "calibrate",
    "evaluate",
    "finetune",
    "judge",
    "load",
    "prepare",
    "report",
    "sample",
    "serve",
    "sweep",
    "train",
]
_MODULES = (
    *("align", "calibrate", "evaluate", "judge", "report"),
    *("sample", "serve", "sweep", "train"),
)
"""Verbs that share their name with a folder of this package. Importing the folder sets it as an
attribute here, which would hide the function; so the folder itself can be called."""


class _Package(ModuleType):
    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self.__name__,)  # pickle handles plain modules only


class _Verb(_Package):
    """A folder that can be called: calls go to the function of the same name in `more_ray.api`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function()(*args, **kwargs)

    @property
    def __signature__(self) -> Any:
        from inspect import signature

        return signature(self._function())

    def _function(self) -> Any:
        return getattr(import_module("more_ray.api"), self.__name__.rpartition(".")[2])


class _FrontDoor(_Package):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in _MODULES and isinstance(value, ModuleType):
            value.__class__ = _Verb
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"more_ray.{name}")
    if name == "UserError":
        return import_module("more_ray.errors").UserError
    if name in __all__:
        return getattr(import_module("more_ray.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _FrontDoor
