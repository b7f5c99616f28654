"""The soak of `jobs/benchmarks/soak.py`, for half a minute."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from soak_clients import FAULTS
from support import job_command, without_cluster

pytestmark = pytest.mark.integration


def test_nothing_is_lost_doubled_wrong_or_hung(trained: Path, tmp_path: Path) -> None:
    """Replicas are killed, a model is replaced under load, clients misbehave; so for sampling."""
    settings = {
        "model.path": trained / "model",
        "results": tmp_path,
        "minutes": 0.5,
        "kill_every": 8,
        "burst_every": 5,
        "look_every": 2,
        "questions": 200,
        "sampled": 40,
    }
    done = subprocess.run(
        job_command("benchmarks/soak", *(f"{key}={value}" for key, value in settings.items())),
        env=without_cluster(),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    clients, kills, sizes, sampling = (
        json.loads((tmp_path / f"soak{name}.json").read_text())["rows"]
        for name in ("", "_kills", "_processes", "_sampling")
    )
    for row in [*clients, *sampling]:
        assert not any(row.get(fault) for fault in FAULTS), row
    for row in clients:
        if row["client"] in ("steady", "burst", "slow"):
            assert row["answered"] == row["requests"] > 0, row
    assert all(row["kills"] == row["replicas back"] > 0 for row in kills)
    assert sampling[0]["services killed"] > 0
    assert sampling[0]["samplers killed"] == 1
    assert {row["process"] for row in sizes} >= {"replica", "proxy", "controller"}
