"""Jobs with a cluster of their own that are killed, or told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from support import (
    BLOCKS,
    MakeConfig,
    MakeSampling,
    free_ports,
    job_command,
    metrics,
    parts,
    sampled,
    wait_for,
    weights,
    without_cluster,
)

from more_ray.config.base import dump
from more_ray.serve.guard import TOKEN_VARIABLE

pytestmark = pytest.mark.integration


def test_a_killed_driver_is_started_again(
    trained: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    """The whole job with its own cluster is killed; the same command continues."""
    folder = tmp_path / "run"
    config = tmp_path / "config.yaml"
    config.write_text(dump(small_config(folder, train={"workers": 2})))
    command = job_command("train_more", "--config", str(config))

    job = subprocess.Popen(command, env=without_cluster(), start_new_session=True)
    try:
        wait_for(lambda: list((folder / "checkpoints").glob("step-*/latest")), what="checkpoint")
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    assert not (folder / "model").exists()

    subprocess.run(command, env=without_cluster(), check=True, timeout=240)
    assert weights(folder) == weights(trained)
    assert len(metrics(folder)) == 12


def test_a_killed_sampling_job_goes_on(small_sampling: MakeSampling, tmp_path: Path) -> None:
    """The same command does the rest, and all of it is the same."""
    folder, whole = tmp_path / "samples", tmp_path / "whole"
    file = tmp_path / "config.yaml"
    file.write_text(dump(small_sampling(folder)))
    command = job_command("rejection_sampling", "--config", str(file))

    job = subprocess.Popen(command, env=without_cluster(), start_new_session=True)
    try:
        wait_for(lambda: parts(folder), what="part")
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    first = parts(folder)
    assert len(first) < BLOCKS
    assert not (folder / "samples.parquet").exists()

    again, _ = (
        subprocess.run(
            [*command, f"output_dir={output}"],
            env=without_cluster(),
            check=True,
            timeout=240,
            capture_output=True,
            text=True,
        ).stdout
        for output in (folder, whole)
    )
    assert "mean reward" in again
    after = parts(folder)
    assert len(after) == BLOCKS
    assert {name: after[name] for name in first} == first
    assert sampled(folder) == sampled(whole)


def test_the_job_finishes_what_has_begun_when_it_is_told_to_stop(trained: Path) -> None:
    (port,) = free_ports(1)
    command = job_command("serve_reward", f"model.path={trained / 'model'}", f"port={port}")
    environment = without_cluster()
    environment.pop(TOKEN_VARIABLE, None)
    job = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert job.stdout is not None
        assert f"http://127.0.0.1:{port}" in job.stdout.readline()
        body = {"prompt": "x", "responses": [f"{number} " * 100 for number in range(100)]}
        with ThreadPoolExecutor(1) as pool:
            url = f"http://127.0.0.1:{port}/score"
            answer = pool.submit(requests.post, url, json=body, timeout=60)
            time.sleep(0.2)  # long enough to have begun, and too short to have ended
            assert not answer.done()
            job.send_signal(signal.SIGTERM)
            assert answer.result(timeout=60).status_code == 200
        assert job.wait(timeout=60) == 0
    finally:
        job.kill()
