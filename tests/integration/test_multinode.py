"""Training across the nodes of a cluster: the same weights, also where a node or driver dies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from own_cluster import REPOSITORY, Cluster, cluster, wait_for

from more_ray.cli import dump_config
from more_ray.config import RunConfig
from more_ray.train.checkpoint import steps_done
from more_ray.train.run import run

pytestmark = pytest.mark.integration
STEPS = 96
Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def settings(small_config: Callable[..., RunConfig]) -> Callable[[Path], RunConfig]:
    """A run that is long enough to be killed in its middle."""
    train = {"workers": 2, "epochs": STEPS // 12, "checkpoint_every": 8}
    return lambda folder: small_config(folder, train=train)


@pytest.fixture(scope="module")
def on_one_node(
    request: pytest.FixtureRequest,
    settings: Callable[[Path], RunConfig],
    tmp_path_factory: pytest.TempPathFactory,
) -> bytes:
    """The weights of an undisturbed run with both workers on one node."""
    request.getfixturevalue("cluster")
    folder = tmp_path_factory.mktemp("runs") / "one-node"
    run(settings(folder))
    return weights(folder)


@pytest.fixture(scope="module")
def nodes(on_one_node: bytes) -> Iterator[Cluster]:
    """A head and two nodes of one CPU each: two workers cannot be on the same.

    `on_one_node` comes first: with two clusters on a machine, Ray's helpers in the one that tests
    share could find the other.
    """
    with cluster() as one:
        one.environment["PYTHONPATH"] = str(REPOSITORY)
        one.start_head(cpus=1)
        one.start_node("first", cpus=1)
        one.start_node("second", cpus=1)
        yield one


@pytest.fixture
def start(nodes: Cluster, settings: Callable[[Path], RunConfig], tmp_path: Path) -> Iterator[Start]:
    """Starts the job of the run in `tmp_path`; the same command each time."""
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(settings(tmp_path / "run")))
    command = [sys.executable, str(REPOSITORY / "jobs/train_more.py"), "--config", str(config)]
    environment = {
        **nodes.environment,
        "RAY_ADDRESS": nodes.address,
        # Shorter than a lost node takes to come back, as it is where that takes minutes.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",
    }
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(command, env=environment))
        return started[-1]

    yield start
    for job in started:
        job.kill()
        job.wait()


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def metrics(folder: Path) -> list[str]:
    return (folder / "metrics.jsonl").read_text().splitlines()


def workers(nodes: Cluster, state: str) -> list[str]:
    """The ids of the nodes on which the training workers are, or were."""
    found = nodes.actors("RayTrainWorker")
    return [worker["node_id"] for worker in found if worker["state"] == state]


def middle(folder: Path) -> list[str]:
    """Waits until there is a checkpoint to go on from; the metrics of the steps before it."""
    wait_for(lambda: steps_done(str(folder)), 120)
    done = metrics(folder)[: steps_done(str(folder))]
    assert 0 < len(done) < STEPS
    return done


def check(folder: Path, before: list[str], wanted: bytes) -> None:
    """The run went on from `before`, whose lines have the seconds that each step took."""
    after = metrics(folder)
    assert len(after) == STEPS
    assert after[: len(before)] == before
    assert weights(folder) == wanted


def test_two_nodes(nodes: Cluster, start: Start, on_one_node: bytes, tmp_path: Path) -> None:
    assert start().wait(timeout=240) == 0
    assert len(set(workers(nodes, "DEAD"))) == 2
    check(tmp_path / "run", [], on_one_node)


def test_a_killed_driver(nodes: Cluster, start: Start, on_one_node: bytes, tmp_path: Path) -> None:
    """The cluster lives on, and clears away what the driver left; the same command goes on."""
    job = start()
    before = middle(tmp_path / "run")
    job.kill()
    job.wait()
    assert not (tmp_path / "run" / "model").exists()
    assert start().wait(timeout=240) == 0
    check(tmp_path / "run", before, on_one_node)
    wait_for(lambda: not workers(nodes, "ALIVE"), 30)


def test_a_killed_node(nodes: Cluster, start: Start, on_one_node: bytes, tmp_path: Path) -> None:
    """Its raylet and all of its workers are gone at once; a new node comes some seconds later."""
    job = start()
    before = middle(tmp_path / "run")
    names = nodes.nodes()
    hosts = [names[node] for node in workers(nodes, "ALIVE")]
    nodes.kill(next(name for name in hosts if name in ("first", "second")))
    time.sleep(10)
    assert job.poll() is None
    assert not (tmp_path / "run" / "model").exists()
    nodes.start_node("another", cpus=1)
    assert job.wait(timeout=240) == 0
    check(tmp_path / "run", before, on_one_node)
