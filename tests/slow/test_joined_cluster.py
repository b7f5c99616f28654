"""A job that joins a cluster, which was started somewhere else on the machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from own_cluster import cluster
from support import REPOSITORY, job_command

from more_ray.config import ModelConfig
from more_ray.model.loading import load_classifier, load_tokenizer

pytestmark = pytest.mark.integration


def test_paths_are_those_of_the_folder_that_the_job_runs_in(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ModelConfig(), 256)
    load_classifier(ModelConfig(), tokenizer, torch.float32, 0).save_pretrained(tmp_path / "mine")
    tokenizer.save_pretrained(tmp_path / "mine")
    data = ["data.simulator.sources=2", "data.simulator.pairs=24", "data.simulator.test_pairs=20"]
    command = job_command("evaluate", "model.path=mine", "output_dir=found", *data)
    with cluster() as one:
        one.start_head(cpus=3)
        environment = {
            **one.environment,
            "RAY_ADDRESS": one.address,
            "PYTHONPATH": str(REPOSITORY),
        }
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=240)
    assert json.loads((tmp_path / "found" / "eval.json").read_text())["mean"]["n"] == 40
