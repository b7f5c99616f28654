"""A run's folder, seen from the model in it."""

from __future__ import annotations

import posixpath
from typing import Any

import yaml

from more_ray import storage


def settings_of(model_path: str) -> dict[str, Any] | None:
    """What `config.yaml` says of the run that exported a model; None for a model of another kind.

    Args:
        model_path: path or URI of a run's folder `model`.
    """
    folder, name = posixpath.split(model_path.rstrip("/"))
    uri = storage.join(folder, "config.yaml")
    if name != "model" or not storage.exists(uri):
        return None
    try:
        settings = yaml.safe_load(storage.read_text(uri))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    ours = isinstance(settings, dict) and settings.keys() >= {"objective", "optimizer", "data"}
    return settings if ours else None


def data_of(model_path: str) -> dict[str, dict[str, Any]]:
    """What was counted of the sources of the run that exported a model, by name."""
    uri = storage.join(posixpath.dirname(model_path.rstrip("/")), "environment.json")
    return (storage.read_json(uri).get("data") or {}) if storage.exists(uri) else {}
