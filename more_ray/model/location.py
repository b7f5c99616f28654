"""Where a model and its tokenizer are: a folder, the hub, a GGUF file, an installed package."""

from __future__ import annotations

import copy
import importlib.util
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from more_ray.config import ModelConfig
from more_ray.errors import ModelError


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
    """The config of the model that `config` names; raises ModelError where there is none."""
    found = location(config)
    if "gguf_file" not in found:
        return from_pretrained(AutoConfig, config)
    # Reading it parses the whole vocabulary, which takes seconds.
    file = Path(found["pretrained_model_name_or_path"], found["gguf_file"])
    return copy.deepcopy(_gguf_shape(config.model_dump_json(), file.stat().st_mtime_ns))


@lru_cache
def _gguf_shape(settings: str, modified: int) -> PretrainedConfig:
    return from_pretrained(AutoConfig, ModelConfig.model_validate_json(settings))


def location(config: ModelConfig) -> dict[str, Any]:
    """The arguments of `from_pretrained` that say what is loaded."""
    path = config.path
    if path.startswith("package:"):
        package, _, name = path.removeprefix("package:").partition("/")
        # Found without importing the package, which may need others that are not installed.
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(f"model.path: the Python package {package} is not installed")
        path = str(Path(spec.submodule_search_locations[0]) / name)
    found: dict[str, Any] = {
        "pretrained_model_name_or_path": path,
        "trust_remote_code": config.trust_remote_code,
    }
    if path.endswith(".gguf"):
        file = Path(path)
        if not file.is_file():
            raise ModelError(f"model.path: no file {path}")
        found |= {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    if config.revision:
        found["revision"] = config.revision
    return found


def cannot_load(config: ModelConfig, error: Exception) -> str:
    return f"model.path: cannot load {config.path}: {str(error).strip().splitlines()[0]}"
