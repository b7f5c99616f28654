"""A section of settings: validated, copied with changes, written as YAML and read back."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, model_validator
from typing_extensions import Self

Tree = dict[str, Any]
"""Settings as YAML gives them: sections are trees, too."""

T = TypeVar("T")
_MAY_CHANGE = "may change when work goes on"
MayChange = Annotated[T, _MAY_CHANGE]
"""A setting that may differ when work goes on: it does not change what comes out."""


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, frozen=True, allow_inf_nan=False
    )

    renamed: ClassVar[dict[str, str]] = {}
    """Keys of earlier versions, and what they are called now."""

    def changed(self, **changes: Any) -> Self:
        """A copy with other values, validated as if it had been given so."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).model_validate(given | changes)

    def fixed(self) -> Tree:
        """All settings that must stay the same when work goes on."""
        return without_free(type(self), self.model_dump(mode="json"))

    @model_validator(mode="before")
    @classmethod
    def _by_their_new_names(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {cls.renamed.get(key, key): value for key, value in given.items()}


def dump(config: BaseModel) -> str:
    """All settings as YAML, in the order of their definition."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


SectionT = TypeVar("SectionT", bound=Section)


def read(model: type[SectionT], text: str) -> SectionT:
    """The inverse of `dump`."""
    return model.model_validate(yaml.safe_load(text))


def without_free(model: type[BaseModel], tree: Tree) -> Tree:
    """A tree without the settings of `model` that may change when work goes on."""
    kept = {}
    for key, value in tree.items():
        field = model.model_fields.get(key)
        if field is None or _MAY_CHANGE not in field.metadata:
            sections = sections_of(field.annotation) if field and isinstance(value, dict) else []
            kept[key] = without_free(sections[0], value) if sections else value
    return kept


def differences(then: Tree, now: Tree, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted keys whose values differ, with both values."""
    for key in then | now:
        one, other = then.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differences(one, other, f"{prefix}{key}.")
        elif one != other:
            yield f"{prefix}{key}", one, other


def members(annotation: Any) -> tuple[Any, ...]:
    """The types of a union; the type itself where it is none."""
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """The models among the types of a union."""
    return [
        one for one in members(annotation) if isinstance(one, type) and issubclass(one, BaseModel)
    ]
