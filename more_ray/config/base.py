"""A section of settings: validated, copied with changes, written as YAML and read back."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, model_validator
from typing_extensions import Self

Tree = dict[str, Any]
"""Settings as read from YAML: nested dictionaries, one per section."""

T = TypeVar("T")
_MAY_CHANGE = "may change when work goes on"
MayChange = Annotated[T, _MAY_CHANGE]
"""A setting that may differ when a run is resumed: it does not change the result."""
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
"""What torch, numpy, Optuna and vLLM all take."""


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, frozen=True, allow_inf_nan=False
    )

    renamed: ClassVar[dict[str, str]] = {}
    """Keys of earlier versions, with their names today."""

    def changed(self, **changes: Any) -> Self:
        """A copy with other values, validated like settings from a caller."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).model_validate(given | changes)

    def fixed(self) -> Tree:
        """All settings that must stay the same when a run is resumed."""
        return without_free(type(self), self.model_dump(mode="json"))

    @model_validator(mode="before")
    @classmethod
    def _by_their_new_names(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {cls.renamed.get(key, key): value for key, value in given.items()}


def dump(config: BaseModel, exclude_defaults: bool = False) -> str:
    """The settings as YAML, in the order of their definition."""
    tree = config.model_dump(mode="json", exclude_defaults=exclude_defaults)
    return yaml.safe_dump(tree, sort_keys=False)


SectionT = TypeVar("SectionT", bound=Section)


def read(model: type[SectionT], text: str) -> SectionT:
    """The inverse of `dump`."""
    return model.model_validate(yaml.safe_load(text))


def without_free(model: type[BaseModel], tree: Tree) -> Tree:
    """A tree without the settings of `model` that may change when a run is resumed."""
    kept = {}
    for key, value in tree.items():
        if not _may_change(model, key):
            section = section_at(model, key, value)
            kept[key] = without_free(section, value) if section else value
    return kept


def _may_change(model: type[BaseModel], key: str) -> bool:
    """Also where a subclass declares the field anew, with another default and without the mark."""
    kinds = (kind for kind in model.__mro__ if issubclass(kind, BaseModel))
    fields = (kind.model_fields.get(key) for kind in kinds)
    return any(field is not None and _MAY_CHANGE in field.metadata for field in fields)


def section_at(model: type[BaseModel], key: str, value: Any) -> type[BaseModel] | None:
    """The model of the section that a tree holds at a key; None where it holds a plain value."""
    field = model.model_fields.get(key)
    sections = sections_of(field.annotation) if field and isinstance(value, dict) else []
    return sections[0] if sections else None


def differences(then: Tree, now: Tree, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted keys whose values differ, with both values."""
    for key in then | now:
        before, after = then.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}", before, after


def members(annotation: Any) -> tuple[Any, ...]:
    """The types of a union; the type itself where it is not a union."""
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """The models among the types of a union."""
    return [
        kind
        for kind in members(annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    ]
