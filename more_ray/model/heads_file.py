"""`heads.safetensors`: several heads of one trunk, and how sure they are.

Version 1, all tensors float64, K sources in the order of the names, H hidden size. Those with a
star are there only where calibration has fitted the heads:

| tensor | shape | what |
|---|---|---|
| `shared` | H | w: everybody's reward is `z w` |
| `drift` | K, H | d_i: source i's reward is `z (w + d_i)` |
| `posterior.shared`* | H, H | C, lower: the variance of `dz w` is `|dz C|^2` |
| `posterior.own`* | K, H, H | the same of each `w + d_i` |
| `ridge`* | 2 | a0 and a1, by which they were fitted |
| `drift_variance` | | tau^2 |
| `unknown_factor`* | | c: the variance of an unknown population is `|dz C|^2 + c tau^2 |dz|^2` |
| `temperature` | K + 1 | T of the shared head, then of each own one: `w / T` is calibrated (1 after
training) |

Heads stand as they were fitted, not divided by T: the posterior is theirs. The metadata, all text:
`format` (`more_ray.heads`), `version`, `sources` (a JSON list of K names), `trunk` (its digest).
Nothing in it is code.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from more_ray import storage
from more_ray.errors import ModelError
from more_ray.run_folder import HEADS

Floats = NDArray[np.float64]

FORMAT, VERSION = "more_ray.heads", "1"


@dataclass(frozen=True)
class Ridge:
    """How strongly heads are held: a0, a1 of the objective in `calibrate/heads.py`, above 0."""

    shared: float
    drift: float
    """`inf`: no drifts, one head for all."""


@dataclass(frozen=True)
class Heads:
    """Reward heads: `z w` for everybody, `z (w + d_i)` for source i."""

    shared_H: Floats
    drift_KH: Floats

    @property
    def own_KH(self) -> Floats:
        """`w + d_i` of every source."""
        return self.shared_H + self.drift_KH


@dataclass(frozen=True)
class Posterior:
    """Lower Cholesky factors C of the heads' covariances, `cov = C C^T`."""

    shared_HH: Floats
    own_KHH: Floats


@dataclass(frozen=True)
class Calibration:
    """The heads of one trunk, and what calibration found about them."""

    names: tuple[str, ...]
    trunk: str
    """`trunk_digest`: heads fit no other trunk."""
    heads: Heads
    drift_variance: float
    shared_temperature: float
    temperature_K: Floats
    ridge: Ridge | None = None
    posterior: Posterior | None = None
    unknown_factor: float | None = None

    @property
    def folded_H(self) -> Floats:
        """The shared head over its temperature, which is what `model/` has."""
        return self.heads.shared_H / self.shared_temperature

    @property
    def folded_KH(self) -> Floats:
        """The same of every own head."""
        return self.heads.own_KH / self.temperature_K[:, None]


def trained_heads(names: tuple[str, ...], trunk: str, heads: Heads) -> Calibration:
    """Heads as training leaves them."""
    return Calibration(
        names, trunk, heads, drift_variance(heads.drift_KH), 1.0, np.ones(len(names))
    )


def drift_variance(drift_KH: Floats) -> float:
    """tau^2: the mean square of the drifts' H numbers, so that `tau^2 |dz|^2` is a variance."""
    return float((drift_KH**2).mean())


def write_heads(path: Path, calibration: Calibration) -> None:
    """Write the file, over an older one."""
    heads, posterior = calibration.heads, calibration.posterior
    tensors: dict[str, Any] = {
        "shared": heads.shared_H,
        "drift": heads.drift_KH,
        "drift_variance": calibration.drift_variance,
        "temperature": np.append(calibration.shared_temperature, calibration.temperature_K),
    }
    if calibration.ridge and posterior:
        tensors |= {
            "posterior.shared": posterior.shared_HH,
            "posterior.own": posterior.own_KHH,
            "ridge": (calibration.ridge.shared, calibration.ridge.drift),
            "unknown_factor": calibration.unknown_factor,
        }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "sources": json.dumps(calibration.names),
        "trunk": calibration.trunk,
    }
    arrays = {name: np.asarray(value, np.float64, order="C") for name, value in tensors.items()}
    save_file(arrays, path, metadata)


def upload_heads(calibration: Calibration, run: str) -> None:
    """Write the file into a run's folder (a path or URI)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, HEADS)
        write_heads(path, calibration)
        storage.upload_file(path, storage.join(run, HEADS))


def sources_of(path: Path) -> tuple[str, ...]:
    """The names of the sources; raises as `read_heads` does."""
    with _opened(path) as (metadata, _):
        return tuple(json.loads(metadata["sources"]))


def has_posterior(path: Path) -> bool:
    """Whether calibration has fitted the heads; raises as `read_heads` does."""
    with _opened(path) as (_, file):
        return "ridge" in file.keys()  # noqa: SIM118


def read_heads(path: Path, trunk: str, hidden_size: int) -> Calibration:
    """The inverse of `write_heads`.

    Raises:
        ModelError: no such file, another format or version, heads of another trunk or hidden size,
            or tensors of wrong shapes.
    """
    with _opened(path) as (metadata, file):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    names = tuple(json.loads(metadata["sources"]))
    if metadata["trunk"] != trunk:
        raise ModelError(
            f"{path} holds heads of another trunk: {metadata['trunk']!r}, not {trunk!r}"
        )
    _check_shapes(path, tensors, len(names), hidden_size)
    found = Calibration(
        names,
        trunk,
        Heads(tensors["shared"], tensors["drift"]),
        float(tensors["drift_variance"]),
        float(tensors["temperature"][0]),
        tensors["temperature"][1:],
    )
    if "ridge" not in tensors:
        return found
    return replace(
        found,
        ridge=Ridge(*map(float, tensors["ridge"])),
        posterior=Posterior(tensors["posterior.shared"], tensors["posterior.own"]),
        unknown_factor=float(tensors["unknown_factor"]),
    )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, str], Any]]:
    """The metadata and the open file, of which no tensor has been read yet."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ModelError(f"{path} holds no heads: its format is {metadata.get('format')!r}")
            if metadata["version"] != VERSION:
                raise ModelError(
                    f"{path} is of version {metadata['version']}; this reads {VERSION}"
                )
            yield metadata, file
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as heads: {error}") from None


def _check_shapes(path: Path, tensors: dict[str, Floats], sources: int, hidden: int) -> None:
    expected = {
        "shared": (hidden,),
        "drift": (sources, hidden),
        "drift_variance": (),
        "temperature": (sources + 1,),
    }
    if "ridge" in tensors:
        expected |= {
            "posterior.shared": (hidden, hidden),
            "posterior.own": (sources, hidden, hidden),
            "ridge": (2,),
            "unknown_factor": (),
        }
    for name, shape in expected.items():
        found = tensors[name].shape if name in tensors else None
        if found != shape:
            raise ModelError(
                f"{path} holds heads of another trunk: {name} has shape {found}, not {shape}"
            )
