"""Another model at the same place is told from the one that was there; a copy is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from more_ray.config import ModelConfig
from more_ray.errors import UserError
from more_ray.model.fingerprint import CHUNK, STRIDE, check_models, fingerprint, note_models

WEIGHTS = 2 * STRIDE + 17


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("A card.")
    (folder / "model.safetensors").write_bytes(bytes(WEIGHTS))
    (tmp_path / "run" / "heads.safetensors").write_bytes(b"heads")
    return folder


def of(path: Path) -> str | None:
    return fingerprint(ModelConfig(path=str(path)))


def test_a_copy_is_the_same_model_whatever_its_card_says(model: Path, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere"
    shutil.copytree(model.parent, copied)
    (copied / "model" / "README.md").write_text("Another card.")
    (copied / "model" / ".gitattributes").touch()
    assert of(model) == of(copied / "model")


@pytest.mark.parametrize("place", [0, STRIDE + CHUNK - 1, 2 * STRIDE + 16])
def test_other_weights_are_another_model(model: Path, place: int) -> None:
    before = of(model)
    weights = bytearray(WEIGHTS)
    weights[place] = 1
    (model / "model.safetensors").write_bytes(weights)
    assert of(model) != before


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "../heads.safetensors"])
def test_other_settings_sizes_and_heads_are_another_model(model: Path, file: str) -> None:
    before = of(model)
    with (model / file).open("ab") as stream:
        stream.write(b" ")
    assert of(model) != before


def test_a_file_is_a_model_and_a_name_says_what_it_names(model: Path) -> None:
    gguf = model / "model.gguf"
    gguf.write_bytes(b"weights")
    assert of(gguf) not in (None, of(model))
    assert fingerprint(ModelConfig(path="org/name")) is None
    assert fingerprint(ModelConfig(path="tiny")) is None


def test_work_goes_on_with_the_models_that_it_began_with(model: Path, tmp_path: Path) -> None:
    work, models = str(tmp_path / "work"), {"reward": ModelConfig(path=str(model))}
    check_models(work, "samples", models)
    note_models(work, models)
    check_models(work, "samples", {**models, "another": ModelConfig(path="org/name")})
    (model / "config.json").write_text('{"other": 1}')
    with pytest.raises(UserError) as found:
        check_models(work, "samples", models)
    assert str(found.value) == (
        f"{work} holds samples of another model than reward is now ({model}); choose another "
        "folder or delete this one"
    )


def test_a_longer_or_another_file_with_the_same_beginning_is_another_model(tmp_path: Path) -> None:
    short, long = tmp_path / "a.gguf", tmp_path / "b.gguf"
    short.write_bytes(bytes(2 * CHUNK))
    before = of(short)
    short.rename(long)
    assert of(long) != before
    long.write_bytes(bytes(2 * CHUNK + 1))
    long.rename(short)
    assert of(short) != before


def test_a_folder_in_the_place_of_a_name_of_the_hub_is_another_model(
    model: Path, tmp_path: Path
) -> None:
    work = str(tmp_path / "work")
    note_models(work, {"reward": ModelConfig(path="org/name")})
    with pytest.raises(UserError, match="samples of another model than reward is now"):
        check_models(work, "samples", {"reward": ModelConfig(path=str(model))})
