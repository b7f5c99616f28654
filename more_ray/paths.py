"""Sources, models and folders that settings name are looked for before anything slow starts."""

from __future__ import annotations

import os
import posixpath
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import pyarrow as pa
from pyarrow.fs import LocalFileSystem
from pydantic import BaseModel

from more_ray import storage
from more_ray.config import DataConfig, ModelConfig
from more_ray.config.sample import PolicyConfig
from more_ray.data.names import chosen_names, source_names
from more_ray.data.sources import fingerprint, locate
from more_ray.errors import ModelError, UserError, model_of_section
from more_ray.model.place import place

FOLDERS = ("output_dir", "prepared", "features", "cache")
"""Settings that name a folder to write to."""


def check_folders(config: BaseModel, prefix: str = "") -> None:
    """Check that the folders of all sections can be made, or written to, as far as is known here.

    Raises:
        UserError: one cannot.
    """
    for name in type(config).model_fields:
        value = getattr(config, name)
        if name in FOLDERS:
            check_folder(f"{prefix}{name}", value)
        elif isinstance(value, BaseModel):
            check_folders(value, f"{prefix}{name}.")


def check_folder(key: str, folder: str) -> None:
    """Check that a folder can be made, or written to; raises UserError if not."""
    try:
        filesystem, path = storage.locate(folder)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{key}: {folder}: {str(error).splitlines()[0]}") from error
    if not isinstance(filesystem, LocalFileSystem):
        return
    there = next(parent for parent in (Path(path), *Path(path).parents) if parent.exists())
    if not there.is_dir():
        raise UserError(f"{key}: {folder}: {there} is a file; allowed: a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{key}: {folder}: {there} cannot be written to")


def check_file(key: str, file: str) -> None:
    """Check that a file can be written; raises UserError if not."""
    if "://" not in file and Path(file).is_dir():
        raise UserError(f"{key}: {file} is a folder; allowed: a file")
    check_folder(key, posixpath.dirname(file) or ".")


def check_paths(config: BaseModel, prefix: str = "") -> None:
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
            with model_of_section(f"{prefix}{name}"):
                check_model(value)
        elif isinstance(value, BaseModel):
            check_paths(value, f"{prefix}{name}.")


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
