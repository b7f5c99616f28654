"""Where a model and its tokenizer are: a folder, the hub, a GGUF file, an installed package.

A PEFT adapter is a folder or hub name with the changes to another model, its base.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PretrainedConfig
from transformers.utils import cached_file

from more_ray.config import ModelConfig
from more_ray.errors import ModelError
from more_ray.model.place import place

PEFT_PREFIX = "base_model.model."
"""What PEFT writes before the names of the base model's modules."""


@dataclass(frozen=True)
class Adapter:
    """A reward model as changes to another model."""

    folder: Path
    base: ModelConfig
    tensors: dict[str, list[int]]
    """Shapes of what it holds, by the names of the base model's modules."""

    @property
    def outputs(self) -> int | None:
        """Outputs of the head that it brings; None where the base model's is used."""
        heads = [
            shape[0]
            for name, shape in sorted(self.tensors.items())
            if name.startswith(("score.", "classifier.")) and name.endswith("weight")
        ]
        return heads[-1] if heads else None


def from_pretrained(kind: Any, config: ModelConfig, /, **arguments: Any) -> Any:
    """`kind.from_pretrained` with what `config` names; raises ModelError where that fails."""
    try:
        return kind.from_pretrained(**location(config), **arguments)
    except UnpicklingError as error:
        # Torch's own message suggests running that code.
        raise ModelError(
            f"model.path: {config.path} has weights that run code when they are read; allowed: "
            "safetensors"
        ) from error
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ModelError(cannot_load(config, error)) from error


def shape_of(config: ModelConfig) -> PretrainedConfig:
    """The config of the model that `config` names; raises ModelError where there is none.

    An adapter has its base model's, with its own outputs.
    """
    found = location(config)
    if "gguf_file" in found:
        # Reading it parses the whole vocabulary, which takes seconds.
        file = Path(found["pretrained_model_name_or_path"], found["gguf_file"])
        return copy.deepcopy(_gguf_shape(config.model_dump_json(), file.stat().st_mtime_ns))
    adapter = adapter_at(config)
    if adapter is None:
        return from_pretrained(AutoConfig, config)
    shape = from_pretrained(AutoConfig, adapter.base)
    if adapter.outputs:
        base = next(iter(shape.architectures or []), "Base")
        shape.architectures = [f"{base.partition('For')[0]}ForSequenceClassification"]
        shape.num_labels = adapter.outputs
    return shape


@lru_cache
def _gguf_shape(settings: str, modified: int) -> PretrainedConfig:
    return from_pretrained(AutoConfig, ModelConfig.model_validate_json(settings))


def location(config: ModelConfig) -> dict[str, Any]:
    """The arguments of `from_pretrained` that say what is loaded."""
    path = place(config)
    found: dict[str, Any] = {
        "pretrained_model_name_or_path": path,
        "trust_remote_code": config.trust_remote_code,
    }
    if path.endswith(".gguf"):
        file = Path(path)
        found |= {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    if config.revision:
        found["revision"] = config.revision
    return found


def adapter_at(config: ModelConfig) -> Adapter | None:
    """The PEFT adapter that `config` names; None where it names a whole model.

    Raises:
        ModelError: it is no reward model, or not in safetensors.
    """
    found = location(config)
    if "gguf_file" in found or not (settings := _stored(found, "adapter_config.json")):
        return None
    try:
        given = json.loads(settings.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(cannot_load(config, error)) from error
    if (task := given.get("task_type")) != "SEQ_CLS":
        raise ModelError(
            f"model.path: {config.path} is an adapter with task_type {task}; allowed: SEQ_CLS, a "
            "reward model"
        )
    weights = _stored(found, "adapter_model.safetensors")
    if weights is None:
        raise ModelError(
            f"model.path: {config.path} has no adapter_model.safetensors; allowed: an adapter in "
            "safetensors, as other formats may run code when they are read"
        )
    if not (base := given.get("base_model_name_or_path")):
        raise ModelError(
            f"model.path: the adapter {config.path} names no base model; allowed: a folder or hub "
            "name as base_model_name_or_path in its adapter_config.json"
        )
    try:
        with safe_open(weights, "pt") as file:
            tensors = {
                name.removeprefix(PEFT_PREFIX): file.get_slice(name).get_shape()
                for name in file.keys()  # noqa: SIM118
            }
    except SafetensorError as error:
        raise ModelError(cannot_load(config, error)) from error
    return Adapter(
        weights.parent, config.changed(path=base, revision=given.get("revision")), tensors
    )


def tokenizer_place(config: ModelConfig) -> ModelConfig:
    """Where the tokenizer is: beside the weights; for an adapter without one, at its base model."""
    adapter = adapter_at(config)
    if adapter is None or _stored(location(config), "tokenizer_config.json"):
        return config
    return adapter.base


def _stored(found: dict[str, Any], name: str) -> Path | None:
    """A file of a folder or a hub repository; None where there is none."""
    try:
        path = cached_file(
            found["pretrained_model_name_or_path"],
            name,
            revision=found.get("revision"),
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError:  # no such place: reading the config says so in one line
        return None
    return Path(path) if path else None


def cannot_load(config: ModelConfig, error: Exception) -> str:
    return f"model.path: cannot load {config.path}: {str(error).strip().splitlines()[0]}"
