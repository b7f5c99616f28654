"""Files and folders that settings name are looked for before anything slow starts."""

from __future__ import annotations

from pydantic import BaseModel

from more_ray.config import DataConfig, ModelConfig
from more_ray.config.sample import PolicyConfig
from more_ray.data.sources import fingerprint, locate
from more_ray.model.place import place


def check_paths(config: BaseModel) -> None:
    """Look for the sources and models of all sections; those on the hub are not asked for.

    Raises:
        DataError, ModelError: one is not there.
    """
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, DataConfig):
            for source in locate(value):
                fingerprint(source)
        elif isinstance(value, PolicyConfig) and value.engine == "openai":
            continue  # its path is not read
        elif isinstance(value, ModelConfig):
            place(value)
        elif isinstance(value, BaseModel):
            check_paths(value)
