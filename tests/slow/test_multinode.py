"""Training across the nodes of a cluster: the same weights, also where a node or driver dies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from own_cluster import REPOSITORY, Cluster, cluster, wait_for

from more_ray.cli import dump_config
from more_ray.config import RunConfig
from more_ray.train.checkpoint_record import steps_done
from more_ray.train.run import run

pytestmark = pytest.mark.integration
STEPS = 96
MakeConfig = Callable[..., RunConfig]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def settings(small_config: MakeConfig) -> MakeConfig:
    """A run that is long enough to be killed in its middle, with changes to `train`."""
    train = {"workers": 2, "epochs": STEPS // 12, "checkpoint_every": 8}
    # A longer run begins like this one, and rounding in another order does not add up.
    same = {"schedule": "constant", "lr": 2e-5}
    return lambda folder, **changes: small_config(folder, train=train | changes, optimizer=same)


@pytest.fixture(scope="module")
def on_one_node(
    request: pytest.FixtureRequest,
    settings: MakeConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of an undisturbed run with both workers on one node."""
    request.getfixturevalue("cluster")
    folder = tmp_path_factory.mktemp("runs") / "one-node"
    run(settings(folder))
    return folder


@pytest.fixture(scope="module")
def nodes(on_one_node: Path) -> Iterator[Cluster]:
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
def start(nodes: Cluster, settings: MakeConfig, tmp_path: Path) -> Iterator[Start]:
    """Starts the job of the run in `tmp_path`; the same command each time."""
    config = tmp_path / "config.yaml"
    command = [sys.executable, str(REPOSITORY / "jobs/train_more.py"), "--config", str(config)]
    environment = {
        **nodes.environment,
        "RAY_ADDRESS": nodes.address,
        # Shorter than a lost node takes to come back, as it is where that takes minutes.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",
    }
    started: list[subprocess.Popen[bytes]] = []

    def start(**changes: Any) -> subprocess.Popen[bytes]:
        config.write_text(dump_config(settings(tmp_path / "run", **changes)))
        started.append(subprocess.Popen(command, env=environment))
        return started[-1]

    yield start
    for job in started:
        job.kill()
        job.wait()


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def lines(folder: Path, name: str = "metrics.jsonl") -> list[str]:
    return (folder / name).read_text().splitlines()


def workers(nodes: Cluster, state: str, key: str = "node_id") -> list[Any]:
    """The ids of the nodes on which the training workers are, or were, or another key of them."""
    found = nodes.actors("RayTrainWorker")
    return [worker[key] for worker in found if worker["state"] == state]


def middle(folder: Path) -> list[str]:
    """Waits until there is a checkpoint to go on from; the metrics of the steps before it."""
    wait_for(lambda: steps_done(str(folder)), 120)
    done = lines(folder)[: steps_done(str(folder))]
    assert 0 < len(done) < STEPS
    return done


def counts(folder: Path, key: str = "workers") -> list[int]:
    """How many workers started each time, or another number of `starts.jsonl`."""
    return [json.loads(line)[key] for line in lines(folder, "starts.jsonl")]


def kill_a_node(nodes: Cluster) -> None:
    """One with a training worker, but not the head."""
    names = nodes.nodes()
    hosts = [names[node] for node in workers(nodes, "ALIVE")]
    nodes.kill(next(name for name in hosts if name != "head"))


def check(folder: Path, before: list[str], wanted: Path) -> None:
    """The run went on from `before`, whose lines have the seconds that each step took."""
    after = lines(folder)
    assert len(after) == STEPS
    assert after[: len(before)] == before
    assert weights(folder) == weights(wanted)


def test_two_nodes(nodes: Cluster, start: Start, on_one_node: Path, tmp_path: Path) -> None:
    assert start().wait(timeout=240) == 0
    assert len(set(workers(nodes, "DEAD"))) == 2
    check(tmp_path / "run", [], on_one_node)


def test_a_killed_driver(nodes: Cluster, start: Start, on_one_node: Path, tmp_path: Path) -> None:
    """The cluster lives on, and clears away what the driver left; the same command goes on."""
    job = start()
    before = middle(tmp_path / "run")
    job.kill()
    job.wait()
    assert not (tmp_path / "run" / "model").exists()
    assert start().wait(timeout=240) == 0
    check(tmp_path / "run", before, on_one_node)
    wait_for(lambda: not workers(nodes, "ALIVE"), 30)


def test_a_killed_node(nodes: Cluster, start: Start, on_one_node: Path, tmp_path: Path) -> None:
    """Its raylet and all of its workers are gone at once; a new node comes some seconds later."""
    job = start()
    before = middle(tmp_path / "run")
    kill_a_node(nodes)
    time.sleep(10)
    assert job.poll() is None
    assert not (tmp_path / "run" / "model").exists()
    nodes.start_node("another", cpus=1)
    assert job.wait(timeout=240) == 0
    check(tmp_path / "run", before, on_one_node)


def test_as_many_workers_as_there_is_room_for(
    nodes: Cluster, start: Start, on_one_node: Path, tmp_path: Path
) -> None:
    """One less once a node is lost, and one more once another is there."""
    folder = tmp_path / "run"
    job = start(workers=4, min_workers=2, grow_after=5, epochs=2 * STEPS // 12)
    middle(folder)
    kill_a_node(nodes)
    wait_for(lambda: len(counts(folder)) == 2, 120)
    nodes.start_node("yet-another", cpus=1)
    assert job.wait(timeout=240) == 0
    assert counts(folder) == [3, 2, 3]
    assert all(0 < step < STEPS for step in counts(folder, "step")[1:])
    assert len(lines(folder)) == 2 * STEPS
    for line, other in zip(lines(folder), lines(on_one_node), strict=False):
        wanted = json.loads(other)["source_loss"]
        assert json.loads(line)["source_loss"] == pytest.approx(wanted, abs=1e-5)
