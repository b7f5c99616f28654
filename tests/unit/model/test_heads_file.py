from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from linear_world import labelled
from safetensors.numpy import load_file, save_file

from more_ray.errors import ModelError
from more_ray.metrics.temperature import fit_temperature
from more_ray.model.heads_file import (
    Calibration,
    Heads,
    Posterior,
    Ridge,
    read_heads,
    write_heads,
)

SOURCES, HIDDEN = 3, 4


@pytest.fixture
def calibration() -> Calibration:
    rng = np.random.default_rng(0)
    return Calibration(
        names=("helpful", "harmless", "größer"),
        trunk="trunk@1a2b",
        ridge=Ridge(0.1, 2.0),
        heads=Heads(rng.standard_normal(HIDDEN), rng.standard_normal((SOURCES, HIDDEN))),
        posterior=Posterior(
            np.tril(rng.standard_normal((HIDDEN, HIDDEN))),
            np.tril(rng.standard_normal((SOURCES, HIDDEN, HIDDEN))),
        ),
        drift_variance=0.25,
        unknown_factor=3.0,
        shared_temperature=1.5,
        temperature_K=rng.random(SOURCES),
    )


@pytest.fixture
def path(tmp_path: Path, calibration: Calibration) -> Path:
    path = tmp_path / "heads.safetensors"
    write_heads(path, calibration)
    return path


def test_what_is_written_is_read(path: Path, calibration: Calibration) -> None:
    found = read_heads(path, "trunk@1a2b", HIDDEN)
    for one, other in (
        (found.heads.shared_H, calibration.heads.shared_H),
        (found.heads.drift_KH, calibration.heads.drift_KH),
        (found.posterior.shared_HH, calibration.posterior.shared_HH),
        (found.posterior.own_KHH, calibration.posterior.own_KHH),
        (found.temperature_K, calibration.temperature_K),
    ):
        np.testing.assert_array_equal(one, other)
    for name in (
        "names",
        "trunk",
        "ridge",
        "drift_variance",
        "unknown_factor",
        "shared_temperature",
    ):
        assert getattr(found, name) == getattr(calibration, name)


def test_a_head_that_is_too_sure_is_cooled_and_ranks_as_before(calibration: Calibration) -> None:
    rng = np.random.default_rng(0)
    head_H = rng.standard_normal(HIDDEN)
    dz_NH = labelled(rng, 5_000, head_H)
    too_sure_H = 3 * head_H
    temperature = fit_temperature(dz_NH @ too_sure_H)
    heads = replace(calibration.heads, shared_H=too_sure_H)
    folded_H = replace(calibration, heads=heads, shared_temperature=temperature).folded_H
    assert temperature == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(dz_NH @ folded_H, dz_NH @ too_sure_H / temperature)
    assert fit_temperature(dz_NH @ folded_H) == pytest.approx(1, abs=1e-6)


def test_the_file_is_as_documented(path: Path) -> None:
    tensors = load_file(path)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "shared": (4,),
        "drift": (3, 4),
        "posterior.shared": (4, 4),
        "posterior.own": (3, 4, 4),
        "ridge": (2,),
        "drift_variance": (),
        "unknown_factor": (),
        "temperature": (4,),
    }
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float64)}
    header = path.read_bytes()
    metadata = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    assert metadata == {
        "format": "more_ray.heads",
        "version": "1",
        "sources": json.dumps(["helpful", "harmless", "größer"]),
        "trunk": "trunk@1a2b",
    }


def test_one_posterior_for_all_heads_is_written_for_each(
    path: Path, calibration: Calibration
) -> None:
    """Without drifts the own factors are views of the shared one."""
    shared_HH = calibration.posterior.shared_HH
    views = Posterior(shared_HH, np.broadcast_to(shared_HH, (SOURCES, HIDDEN, HIDDEN)))
    write_heads(path, replace(calibration, posterior=views))
    found = read_heads(path, "trunk@1a2b", HIDDEN).posterior
    np.testing.assert_array_equal(found.own_KHH[2], shared_HH)


def test_heads_of_another_trunk_are_one_line(path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"holds heads of another trunk: 'trunk@1a2b', not 'trunk@ffff'$"
    ):
        read_heads(path, "trunk@ffff", HIDDEN)
    with pytest.raises(
        ModelError,
        match=r"holds heads of another trunk: shared has shape \(4,\), not \(5,\)$",
    ):
        read_heads(path, "trunk@1a2b", 5)


def test_other_files_are_one_line(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^\S+/none cannot be read as heads: "):
        read_heads(tmp_path / "none", "trunk@1a2b", HIDDEN)
    (tmp_path / "text").write_text("no tensors here, only some text")
    with pytest.raises(ModelError, match=r"^\S+/text cannot be read as heads: "):
        read_heads(tmp_path / "text", "trunk@1a2b", HIDDEN)
    save_file({"weight": np.eye(2)}, tmp_path / "other")
    with pytest.raises(ModelError, match=r"^\S+/other holds no heads: its format is None$"):
        read_heads(tmp_path / "other", "trunk@1a2b", HIDDEN)
    metadata = {"format": "more_ray.heads", "version": "2", "sources": "[]", "trunk": ""}
    save_file(load_file(path), tmp_path / "newer", metadata)
    with pytest.raises(ModelError, match=r"^\S+/newer is of version 2; this reads 1$"):
        read_heads(tmp_path / "newer", "trunk@1a2b", HIDDEN)
