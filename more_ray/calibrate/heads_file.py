"""`heads.safetensors`: several heads of one trunk, and how sure they are.

Version 1, all tensors float64, K sources in the order of the names, H hidden size:

| tensor | shape | what |
|---|---|---|
| `shared` | H | w: everybody's reward is `z w` |
| `drift` | K, H | d_i: source i's reward is `z (w + d_i)` |
| `posterior.shared` | H, H | C, lower: the variance of `dz w` is `|dz C|^2` |
| `posterior.own` | K, H, H | the same of each `w + d_i` |
| `ridge` | 2 | a0 and a1, by which they were fitted |
| `drift_variance` | | tau^2 |
| `unknown_factor` | | c: the variance of an unknown population is `|dz C|^2 + c tau^2 |dz|^2` |
| `temperature` | K + 1 | T of the shared head, then of each own one: `w / T` is calibrated |

Heads stand as they were fitted, not divided by T: the posterior is theirs. The metadata, all text:
`format` (`more_ray.heads`), `version`, `sources` (a JSON list of K names), `trunk` (what names the
trunk and how its hidden states are made). Nothing in it is code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from more_ray.calibrate.heads import Heads, Ridge
from more_ray.calibrate.pairs import Floats
from more_ray.calibrate.posterior import Posterior
from more_ray.errors import ModelError

FORMAT, VERSION = "more_ray.heads", "1"


@dataclass(frozen=True)
class Calibration:
    """All that calibration found about one trunk."""

    names: tuple[str, ...]
    trunk: str
    """A name or fingerprint: heads fit no other trunk."""
    ridge: Ridge
    heads: Heads
    posterior: Posterior
    drift_variance: float
    unknown_factor: float
    shared_temperature: float
    temperature_K: Floats

    @property
    def folded_H(self) -> Floats:
        """The shared head over its temperature, which is what `model/` has."""
        return self.heads.shared_H / self.shared_temperature

    @property
    def folded_KH(self) -> Floats:
        """The same of every own head."""
        return self.heads.own_KH / self.temperature_K[:, None]


def write_heads(path: Path, calibration: Calibration) -> None:
    """Write the file, over an older one."""
    heads, posterior = calibration.heads, calibration.posterior
    tensors = {
        "shared": heads.shared_H,
        "drift": heads.drift_KH,
        "posterior.shared": posterior.shared_HH,
        "posterior.own": posterior.own_KHH,
        "ridge": (calibration.ridge.shared, calibration.ridge.drift),
        "drift_variance": calibration.drift_variance,
        "unknown_factor": calibration.unknown_factor,
        "temperature": np.append(calibration.shared_temperature, calibration.temperature_K),
    }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "sources": json.dumps(calibration.names),
        "trunk": calibration.trunk,
    }
    arrays = {name: np.asarray(value, np.float64, order="C") for name, value in tensors.items()}
    save_file(arrays, path, metadata)


def read_heads(path: Path, trunk: str, hidden_size: int) -> Calibration:
    """The inverse of `write_heads`.

    Raises:
        ModelError: no such file, another format or version, heads of another trunk or hidden size,
            or tensors of wrong shapes.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as heads: {error}") from None
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path} holds no heads: its format is {metadata.get('format')!r}")
    if metadata["version"] != VERSION:
        raise ModelError(f"{path} is of version {metadata['version']}; this reads {VERSION}")
    names = tuple(json.loads(metadata["sources"]))
    if metadata["trunk"] != trunk:
        raise ModelError(
            f"{path} holds heads of another trunk: {metadata['trunk']!r}, not {trunk!r}"
        )
    _check_shapes(path, tensors, len(names), hidden_size)
    return Calibration(
        names,
        trunk,
        Ridge(*map(float, tensors["ridge"])),
        Heads(tensors["shared"], tensors["drift"]),
        Posterior(tensors["posterior.shared"], tensors["posterior.own"]),
        float(tensors["drift_variance"]),
        float(tensors["unknown_factor"]),
        float(tensors["temperature"][0]),
        tensors["temperature"][1:],
    )


def _check_shapes(path: Path, tensors: dict[str, Floats], sources: int, hidden: int) -> None:
    expected = {
        "shared": (hidden,),
        "drift": (sources, hidden),
        "posterior.shared": (hidden, hidden),
        "posterior.own": (sources, hidden, hidden),
        "ridge": (2,),
        "drift_variance": (),
        "unknown_factor": (),
        "temperature": (sources + 1,),
    }
    for name, shape in expected.items():
        found = tensors[name].shape if name in tensors else None
        if found != shape:
            raise ModelError(
                f"{path} holds heads of another trunk: {name} has shape {found}, not {shape}"
            )
