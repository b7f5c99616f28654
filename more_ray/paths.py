"""Sources and models that settings name are looked for before anything slow starts."""

from __future__ import annotations

from pydantic import BaseModel

from more_ray.config import DataConfig, ModelConfig
from more_ray.config.sample import PolicyConfig
from more_ray.data.sources import fingerprint, locate
from more_ray.model.place import place


def check_paths(config: BaseModel) -> None:
    """Look for the files of the sources and models of all sections. The hub is not asked, but for
    the values of a column of sources.

    Raises:
        DataError, ModelError: one is not there.
    """
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, DataConfig):
            for source in locate(value) if value.root or value.sources else []:
                fingerprint(source)
        elif isinstance(value, PolicyConfig) and value.engine == "openai":
            continue  # its path is not read
        elif name == "model" and getattr(config, "init_from", None):
            continue  # that of another run is read
        elif isinstance(value, ModelConfig):
            place(value)
        elif isinstance(value, BaseModel):
            check_paths(value)
