"""Sources and models that settings name are looked for before anything slow starts."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from pydantic import BaseModel

from more_ray.config import DataConfig, ModelConfig
from more_ray.config.sample import PolicyConfig
from more_ray.data.names import chosen_names, source_names
from more_ray.data.sources import fingerprint, locate
from more_ray.errors import ModelError
from more_ray.model.place import place


def check_paths(config: BaseModel) -> None:
    """Look for the files of the sources and models of all sections, and for the sources that
    `data.train_on` names. The hub is not asked, but for the values of a column of sources.

    Raises:
        DataError, ModelError: one is not there, or on the hub, which cannot be reached.
    """
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, DataConfig):
            for source in locate(value) if value.root or value.sources else []:
                fingerprint(source)
            if value.train_on:
                chosen_names(value, source_names(value))
        elif isinstance(value, PolicyConfig) and value.engine == "openai":
            continue  # its path is not read
        elif name == "model" and getattr(config, "init_from", None):
            continue  # that of another run is read
        elif isinstance(value, ModelConfig):
            check_model(value)
        elif isinstance(value, BaseModel):
            check_paths(value)


def check_model(config: ModelConfig) -> None:
    """Look for a model here; raises ModelError where it is on the hub, which cannot be reached."""
    path = place(config)
    if path != "tiny" and not Path(path).exists():
        _check_hub(path, config.revision)


def _check_hub(name: str, revision: str | None) -> None:
    """Without a network, libraries would try for a minute to read a model that is not kept here."""
    from huggingface_hub import constants, try_to_load_from_cache

    files = ("config.json", "adapter_config.json")
    try:
        kept = [try_to_load_from_cache(name, file, revision=revision) for file in files]
    except ValueError as error:  # no name that the hub could have
        raise ModelError(f"model.path: no folder {name}, and no name of the hub") from error
    if constants.HF_HUB_OFFLINE or getproxies() or any(isinstance(file, str) for file in kept):
        return
    hub = urlsplit(constants.ENDPOINT)
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname, port), timeout=10).close()
    except OSError as error:
        raise ModelError(
            f"model.path: {name} is neither a folder here nor in the hub's cache, and "
            f"{constants.ENDPOINT} cannot be reached: {error.strerror or error}"
        ) from error
