"""`ray job submit`, as README.md says it, from a copy of what a user has."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from own_cluster import Cluster, cluster, halted
from ray._private.runtime_env.packaging import create_package
from support import REPOSITORY, free_ports, metrics, wait_for, weights

from more_ray.train.checkpoint_record import steps_done

pytestmark = pytest.mark.integration
SUBMIT = "ray job submit --working-dir . -- python jobs/train_more.py"
LINE = f"{SUBMIT} --config"
STEPS = 60
SETTINGS = (
    "compare=[] data.simulator.sources=3 data.simulator.pairs=96 data.simulator.test_pairs=60 "
    f"optimizer.lr=2e-4 train.pairs_per_source=8 train.epochs={STEPS // 12} train.threads=1 "
    "train.checkpoint_every=12"
)
FILES = [
    "checkpoints",
    "config.yaml",
    "device.json",
    "environment.json",
    "eval.json",
    "metrics.jsonl",
    "model",
]
FILES += ["report.html", "scores.parquet", "starts.jsonl"]


@dataclass(frozen=True)
class Jobs:
    """A cluster, the folder that jobs are submitted from, and the folder of their runs."""

    cluster: Cluster
    checkout: Path
    outputs: Path

    def shell(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.checkout,
            env={**self.cluster.environment, "RAY_ADDRESS": self.cluster.dashboard, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )

    def train(self, run: str, submit: str = LINE) -> subprocess.CompletedProcess[str]:
        return self.shell(
            f"{submit} quickstart {SETTINGS} output_dir={self.outputs / run} "
            f"data.prepared={self.outputs}/prepared"
        )


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    checkout = tmp_path_factory.mktemp("checkout")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, files.stdout.split("\0")):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, checkout / name)
    # What a user also has, and what must not be uploaded.
    for name in ("data/mine.train.jsonl", "outputs/more/model/model.safetensors", ".venv/python"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes(bytes(4 * 2**20))
    # Each process of a job says where it has the package from.
    with (checkout / "more_ray" / "__init__.py").open("a") as package:
        package.write('\nprint("more_ray is", __file__)\n')
    with cluster() as one:
        one.start_head(cpus=4)
        yield Jobs(one, checkout, tmp_path_factory.mktemp("outputs"))


@dataclass(frozen=True)
class Finished:
    """What the terminal shows of the job `whole`, and the micro-steps that the job `stopped` had
    done before it went on where it was."""

    said: str
    before: list[dict[str, Any]]


@pytest.fixture(scope="module")
def finished(jobs: Jobs) -> Finished:
    folder = jobs.outputs / "stopped"
    job = jobs.train("stopped", LINE.replace("submit", "submit --no-wait")).stdout
    name = re.search(r"raysubmit_\w+", job)
    assert name, job
    wait_for(lambda: steps_done(str(folder)), what="checkpoint")
    with halted(jobs.cluster.training_workers()):
        stopped = jobs.shell(f"ray job stop {name[0]}")
    assert "was stopped" in stopped.stdout, stopped.stdout
    assert not (folder / "model").exists()
    before = metrics(folder)

    with ThreadPoolExecutor() as pool:  # side by side, as a job is mostly waited for
        whole, again = pool.map(jobs.train, ["whole", "stopped"])
    for job in (whole, again):
        assert job.returncode == 0, job.stdout
    return Finished(whole.stdout, before)


def test_the_job_line(jobs: Jobs, finished: Finished) -> None:
    assert SUBMIT in (REPOSITORY / "README.md").read_text()
    assert LINE in (REPOSITORY / "cluster" / "README.md").read_text()
    folder = jobs.outputs / "whole"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [line["step"] for line in metrics(folder)] == list(range(STEPS))
    log = finished.said.splitlines()
    assert len(log) <= STEPS


def test_the_upload_is_small_and_is_what_runs(
    jobs: Jobs, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "package.zip"
    create_package(str(jobs.checkout), package, include_gitignore=True)
    with capsys.disabled():
        print(f"\nupload: {package.stat().st_size / 2**20:.2f} MiB")
    assert package.stat().st_size < 2 * 2**20

    session = jobs.cluster.folder / "session_latest"
    (unpacked,) = (session / "runtime_resources" / "working_dir_files").glob("_ray_pkg_*/")
    # By name, as the files of two packages may differ in their time of change.
    sent = {name for name in zipfile.ZipFile(package).namelist() if not name.endswith("/")}
    arrived = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert {name for name in arrived if "__pycache__" not in name} == sent

    said = [path.read_text(errors="replace") for path in (session / "logs").glob("worker-*.out")]
    places = re.findall(r"more_ray is (.*)", "\n".join([finished.said, *said]))
    assert len(places) >= 3  # the driver and two workers
    assert {place.rpartition("/more_ray/")[0] for place in places} == {str(unpacked.resolve())}


def test_a_stopped_job_goes_on_where_it_was(jobs: Jobs, finished: Finished) -> None:
    folder = jobs.outputs / "stopped"
    after = metrics(folder)
    assert len(after) == STEPS
    assert after[:12] == finished.before[:12]  # with the seconds that each took: not done again
    assert weights(folder) == weights(jobs.outputs / "whole")


def test_a_token_is_asked_for(jobs: Jobs) -> None:
    """By the dashboard, which takes jobs, and by the head, which a script joins."""
    tokens = {
        "wrong": {"RAY_AUTH_TOKEN": "c" * 64},
        "no file": {"RAY_AUTH_TOKEN_PATH": "/nowhere"},
        "none": {"RAY_AUTH_MODE": "disabled"},
    }
    messages = {
        "wrong": "Forbidden: Invalid authentication token",
        "no file": "file cannot be opened or is empty: /nowhere",
        "none": "Unauthorized: Missing authentication token",
    }
    script = {
        "PYTHONPATH": ".",
        "RAY_ADDRESS": jobs.cluster.address,
        "RAY_NUM_REDIS_GET_RETRIES": "2",  # not 20 times, a second each
    }
    with ThreadPoolExecutor(3) as pool:
        submitted = {
            token: pool.submit(jobs.shell, "ray job submit -- true", **environment)
            for token, environment in tokens.items()
        }
        joined = {
            token: pool.submit(jobs.shell, "python jobs/train_more.py", **environment, **script)
            for token, environment in tokens.items()
        }
    for token, message in messages.items():
        refused = submitted[token].result()
        assert refused.returncode == 1, token
        assert message in refused.stdout

        refused = joined[token].result()
        assert refused.returncode == 1, token
        assert "Traceback" not in refused.stdout
        assert refused.stdout.splitlines()[-1] == (
            f"error: RAY_ADDRESS: {jobs.cluster.address} asks for another token; "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE name the cluster's token"
        )


def test_no_cluster_at_the_address(jobs: Jobs) -> None:
    (port,) = free_ports(1)
    addresses = [f"127.0.0.1:{port}", f"http://127.0.0.1:{port}"]

    def join(address: str) -> subprocess.CompletedProcess[str]:
        return jobs.shell("python jobs/train_more.py", PYTHONPATH=".", RAY_ADDRESS=address)

    with ThreadPoolExecutor() as pool:
        both = list(pool.map(join, addresses))
    for address, refused in zip(addresses, both, strict=True):
        assert refused.returncode == 1
        said = refused.stdout.splitlines()[1:]  # the first is where the package is
        assert len(said) == 1
        assert said[0].startswith("error: RAY_ADDRESS: ")
        assert address in said[0]


def test_without_an_address_a_cluster_of_its_own(jobs: Jobs) -> None:
    """Also on the machine of a head, which Ray would join."""
    address = "ray.get_runtime_context().gcs_address"
    started = jobs.shell(
        f"python -c 'import ray; from more_ray.cluster import connect; connect(1, False); "
        f'print("joined", {address})\'',
        PYTHONPATH=".",
        RAY_ADDRESS="",
        RAY_TMPDIR=str(jobs.cluster.folder),
    )
    joined = re.search(r"joined \S+:(\d+)", started.stdout)
    assert joined, started.stdout
    assert int(joined[1]) != jobs.cluster.port
