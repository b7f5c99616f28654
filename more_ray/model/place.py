"""Where a model's files are, as far as that is known without transformers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from more_ray.config import ModelConfig
from more_ray.errors import ModelError
from more_ray.run_folder import holds_model, model_of


def place(config: ModelConfig) -> str:
    """The folder or file of a model, also of one in an installed package; or its hub name.

    Raises:
        ModelError: there is no such package, file or folder, or it is the folder of a run.
    """
    path = config.path
    if path.startswith("package:"):
        package, _, name = path.removeprefix("package:").partition("/")
        # Found without importing the package, which may need others that are not installed.
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # of a package that it would lie in
            spec = None
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(f"model.path: the Python package {package} is not installed")
        path = str(Path(spec.submodule_search_locations[0]) / name)
    if path.endswith(".gguf") and not Path(path).is_file():
        raise ModelError(f"model.path: no file {path}")
    no_hub_name = path.count("/") > 1 or path.startswith(("/", ".", "~"))
    if no_hub_name and not Path(path).exists():
        raise ModelError(f"model.path: cannot load {path}: there is no such folder")
    if path != "tiny" and holds_model(path) and not Path(path, "config.json").exists():
        raise ModelError(f"model.path: {path} is a run's folder; its model is {model_of(path)}")
    return path
