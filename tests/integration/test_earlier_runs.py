"""What earlier versions left goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from support import MakeConfig

from more_ray.train.run import run

pytestmark = pytest.mark.integration

LATER = {
    "data": {"on_leak"},
    "model": {"chat_template_kwargs"},
    "objective": {"labels"},
    "train": {"compile"},
}
"""Settings that commit c3ccf7d did not know."""


def as_c3ccf7d_left_it(folder: Path) -> None:
    """A finished run as one of that version, killed after its first checkpoint."""
    for name in ("model", "checkpoints/step-00000012"):
        shutil.rmtree(folder / name)
    for name in ("eval.json", "scores.parquet", "device.json"):
        (folder / name).unlink()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for section, keys in LATER.items():
        for key in keys:
            del config[section][key]
    config["output_dir"] = str(folder)
    config["data"]["pairs_per_source"] = config["data"].pop("max_pairs")
    config["train"]["eval_tokens"] = 8_192
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    environment = json.loads((folder / "environment.json").read_text())
    del environment["data"]
    (folder / "environment.json").write_text(json.dumps(environment))
    state = folder / "checkpoints" / "step-00000008" / "state" / "mp_rank_00_model_states.pt"
    saved = torch.load(state, weights_only=False)
    del saved["optimizer"]["masters"]
    torch.save(saved, state)


def test_a_run_begun_by_an_earlier_version_ends_with_the_same_weights(
    trained: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    as_c3ccf7d_left_it(folder)
    run(small_config(folder, train={"workers": 2}))
    starts = [json.loads(line) for line in (folder / "starts.jsonl").read_text().splitlines()]
    assert starts[-1]["step"] == 8
    for name in ("model/model.safetensors", "eval.json"):
        assert (folder / name).read_bytes() == (trained / name).read_bytes()
