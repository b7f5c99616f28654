"""The check on one GPU, rehearsed on a CPU with models of two small blocks."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gpu_settings import CASES, OURS, THEIRS
from support import job_command, without_cluster

SIZES = {"num_hidden_layers": 2, "hidden_size": 48, "intermediate_size": 64, "vocab_size": 2_048}
MODELS = [
    {
        "name": "small LLaMA",
        "architecture": "llama",
        "sizes": {**SIZES, "num_attention_heads": 6, "num_key_value_heads": 2},
    },
    {
        "name": "small GPT-NeoX",
        "architecture": "gpt_neox",
        "sizes": {**SIZES, "num_attention_heads": 3},
    },
]
NUMBERS = ["packed is padded", "lam again", "resumes", "ZeRO stages, bf16", "ZeRO stages, fp32"]


def check(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    """What each phase has written."""
    settings = {
        "device": "cpu",
        "output": str(folder / "output"),
        "runs": str(folder / "runs"),
        "seconds": [120, 240, 240],
        **{"matrix": 64, "copy_mib": 1},
        **{"max_length": 48, "pairs_per_source": 2, "trl_micro_pairs": 5},
        **{"warmup": 1, "steps": 2},
        "models": MODELS,
        "variants": [*OURS, *(THEIRS if importlib.util.find_spec("trl") else ())],
        "schemes": ["more"],
        "seeds": [0],
        "training": {
            "data": {
                "sources": [],
                "simulator": {"sources": 3, "pairs": 48, "test_pairs": 30},
                "prepared": str(folder / "prepared"),
            },
            "model": {"path": "tiny"},
            "train": {"pairs_per_source": 8, "max_steps": 4, "checkpoint_every": 4, "threads": 1},
        },
    }
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({**settings, **changes}))
    command = job_command("benchmarks/gpu", "--config", str(file))
    subprocess.run(command, check=True, env=without_cluster())
    return [
        json.loads((folder / "output" / f"phase{phase}.json").read_text()) for phase in (1, 2, 3)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture(scope="module")
def phases(folder: Path) -> list[dict[str, Any]]:
    return check(folder)


def numbers(tree: Any) -> Iterator[float]:
    """All in a result."""
    if isinstance(tree, (dict, list)):
        for one in tree.values() if isinstance(tree, dict) else tree:
            yield from numbers(one)
    elif isinstance(tree, (int, float)):
        yield tree


def test_every_part_is_done_and_every_number_finite(phases: list[dict[str, Any]]) -> None:
    for phase in phases:
        assert (phase["failed"], phase["undone"]) == ({}, [])
        assert all(map(math.isfinite, numbers(phase["done"])))
        assert phase["measured_with"]["versions"]["deepspeed"]


def test_ceilings_and_attention(phases: list[dict[str, Any]]) -> None:
    done = phases[0]["done"]
    assert done["matrix_product"]["tflops"] > 0
    assert done["copy"]["gb_per_s"] > 0
    for model in MODELS:
        for case in CASES:
            result = done[f"attention of {model['name']}: {case}"]
            assert result["errors"].keys() == {"output", "dq", "dk", "dv"}
            assert result["error"] < 1e-5  # in fp32, as models are on a CPU


def test_what_must_be_equal_is(phases: list[dict[str, Any]]) -> None:
    done = phases[1]["done"]
    for name in NUMBERS:
        assert done[name]["holds"]
        assert 0 <= done[name]["error"] <= done[name]["allowed"]
    assert done["resumes"]["losses"][3:] == done["resumes"]["losses_again"]
    assert len(done["ZeRO stages, fp32"]["losses"]) == 4


def test_speed_of_every_kind_of_step(phases: list[dict[str, Any]]) -> None:
    done, variants = phases[1]["done"], phases[1]["settings"]["variants"]
    for model in MODELS:
        rows = {variant: done[f"{model['name']}, {variant}"] for variant in variants}
        for row in rows.values():
            assert len(row["seconds"]) == 3
            assert row["pairs_per_s"] == pytest.approx(10 / row["step_s"])
            assert row["tokens_per_s"] > 0
            assert 0 < row["mfu"] < 1
            assert row["peak_mib"] > 0
        assert rows["packed"]["more_over_uniform"] > 0
        assert rows["packed"]["tokens_per_step"] < rows["padded"]["tokens_per_step"]


def test_training_keeps_its_results(phases: list[dict[str, Any]], folder: Path) -> None:
    (run,) = phases[2]["done"].values()
    assert run["seconds"] > 0
    (row,) = json.loads((folder / "output" / "summary.json").read_text())
    assert (row["scheme"], row["seeds"]) == ("more", 1)
    assert row["accuracy, mean"] == run["mean"]["accuracy"]
    with tarfile.open(folder / "output" / "runs.tar") as archive:
        kept = [f"more-0/{name}" for name in ("eval.json", "scores.parquet", "metrics.jsonl")]
        assert archive.getnames() == kept
        lines = archive.extractfile("more-0/metrics.jsonl").read().splitlines()
    assert len(lines) == 4


def test_after_the_deadline_parts_are_named_and_not_begun(tmp_path: Path) -> None:
    for phase in check(tmp_path, seconds=[0, 0, 0]):
        assert phase["done"] == {}
        assert phase["undone"]
    assert not (tmp_path / "runs").exists()
