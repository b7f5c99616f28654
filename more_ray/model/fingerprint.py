"""What tells a model from another one that later lies at the same place.

Work that goes on after a kill notes the models that it began with, as `models.json`: a JSON object,
by key a fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from more_ray import storage
from more_ray.config import ModelConfig
from more_ray.errors import UserError
from more_ray.model.place import place
from more_ray.run_folder import HEADS, run_of

MODELS_NOTED = "models.json"
CHUNK, STRIDE = 4_096, 2**23
"""Bytes that are read, of so many: training changes nearly all weights."""


def fingerprint(config: ModelConfig) -> str | None:
    """16 hexadecimal digits by the content of a model's files, which may be copied, and the heads
    of its run. None for a name on the hub, which says what it names.

    Raises:
        ModelError: there is no such file or folder.
    """
    path = Path(place(config))
    if path.is_dir():
        found = [file for file in sorted(path.iterdir()) if file.is_file() and _counts(file)]
    elif path.is_file():
        found = [path]
    else:
        return None
    run = run_of(config.path)
    if run and (heads := Path(run, HEADS)).is_file():
        found.append(heads)
    digest = hashlib.sha256()
    for file in found:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            for first in range(0, size, STRIDE):
                stream.seek(first)
                digest.update(stream.read(CHUNK))
    return digest.hexdigest()[:16]


def check_models(folder: str, what: str, models: Mapping[str, ModelConfig]) -> None:
    """Check that a folder's work began with these models, as far as it is noted.

    Args:
        what: the content of the folder, for the error: "samples".
        models: by key.

    Raises:
        UserError: one of them was another model then.
    """
    uri = storage.join(folder, MODELS_NOTED)
    before = storage.read_json(uri) if storage.exists(uri) else {}
    for key, config in models.items():
        if key in before and before[key] != fingerprint(config):
            raise UserError(
                f"{folder} holds {what} of another model than {key} is now ({config.path}); choose "
                "another folder or delete this one"
            )


def note_models(folder: str, models: Mapping[str, ModelConfig]) -> None:
    noted = {key: fingerprint(config) for key, config in models.items()}
    storage.write_json(storage.join(folder, MODELS_NOTED), noted)


def _counts(file: Path) -> bool:
    return file.suffix != ".md" and not file.name.startswith(".")
