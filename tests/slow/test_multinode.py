"""Training across the nodes of a cluster: the same weights, also where a node or driver dies."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from own_cluster import Cluster, cluster, halted
from support import REPOSITORY, MakeConfig, job_command, metrics, starts, wait_for, weights

from more_ray.config.base import dump
from more_ray.train.checkpoint_record import steps_done

pytestmark = pytest.mark.integration
STEPS = 12
NUMBERS = itertools.count(1)
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def head(trained: Path) -> Iterator[Cluster]:
    """One without CPUs.

    `trained`, an undisturbed run with both workers on one node, comes first: with two clusters on
    a machine, Ray's helpers in the one that tests share could find the other.
    """
    with cluster() as one:
        one.environment["PYTHONPATH"] = str(REPOSITORY)
        # A node that does not answer is given up after 3 seconds, not 15.
        one.environment["RAY_health_check_period_ms"] = "1000"
        one.environment["RAY_health_check_failure_threshold"] = "3"
        one.start_head(cpus=0)
        yield one


@pytest.fixture
def start(head: Cluster, small_config: MakeConfig, tmp_path: Path) -> Iterator[Start]:
    """Starts the job of the run in `tmp_path`; the same command each time."""
    config = tmp_path / "config.yaml"
    command = job_command("train_more", "--config", str(config))
    environment = {
        **head.environment,
        "RAY_ADDRESS": head.address,
        # Shorter than a lost node takes to come back, as it is where that takes minutes.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "2",
        "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.2",
    }
    started: list[subprocess.Popen[bytes]] = []

    def start(**train: Any) -> subprocess.Popen[bytes]:
        settings = small_config(tmp_path / "run", train={"checkpoint_every": 2, **train})
        config.write_text(dump(settings))
        started.append(subprocess.Popen(command, env=environment))
        return started[-1]

    yield start
    for job in started:
        job.kill()
        job.wait()


def have_nodes(head: Cluster, count: int) -> None:
    """Beside the head, of one CPU each: two workers cannot be on the same."""
    names = [name for name in head.nodes().values() if name != "head"]
    for name in names[count:]:
        kill_node(head, name)
    for _ in range(len(names), count):
        head.start_node(f"node-{next(NUMBERS)}", cpus=1)


def kill_node(head: Cluster, name: str) -> None:
    """All of its processes at once; returns when Ray knows that it is lost."""
    head.kill(name)
    wait_for(lambda: name not in head.nodes().values(), what="notice of a lost node")


def hosts(head: Cluster) -> list[str]:
    """The names of the nodes on which training workers are."""
    names = head.nodes()
    workers = head.actors("RayTrainWorker")
    return [names.get(one["node_id"], "") for one in workers if one["state"] == "ALIVE"]


def wait_for_start(folder: Path, number: int) -> None:
    """The first, or a later one, of a run's workers."""
    file = folder / "starts.jsonl"
    wait_for(lambda: file.exists() and len(starts(folder)) == number, what=f"start {number}")


@contextmanager
def in_its_middle(head: Cluster, folder: Path, after: int = 0) -> Iterator[list[dict[str, Any]]]:
    """A run halted at a checkpoint beyond that of step `after`; the metrics of the steps in it."""
    workers = head.training_workers()
    wait_for(lambda: steps_done(str(folder)) > after, what="checkpoint")
    with halted(workers):
        done = metrics(folder)[: steps_done(str(folder))]
        assert after < len(done) < STEPS
        yield done


def check_starts(folder: Path, workers: list[int]) -> None:
    """How many there were each time; from the second on the run had got somewhere."""
    assert [start["workers"] for start in starts(folder)] == workers
    first, *later = [start["step"] for start in starts(folder)]
    assert first == 0
    assert all(0 < step < STEPS for step in later)
    assert len(metrics(folder)) == STEPS


def count_again(head: Cluster) -> None:
    """Ray counts the nodes for elastic runs every 20 seconds, or when it is asked to."""
    ask = (
        "import ray; ray.init(); coordinator = ray.get_actor(*['AutoscalingCoordinator'] * 2); "
        "ray.get(coordinator.get_reserved_resources.remote('', recompute=True))"
    )
    environment = {**head.environment, "RAY_ADDRESS": head.address}
    subprocess.run([sys.executable, "-c", ask], env=environment, check=True, timeout=60)


# First, as a driver that is killed leaves a request for room which counts for three minutes.
def test_as_many_workers_as_there_is_room_for(
    head: Cluster, start: Start, trained: Path, tmp_path: Path
) -> None:
    """One less once a node is lost, and one more once another is there."""
    folder = tmp_path / "run"
    have_nodes(head, 3)
    job = start(workers=4, min_workers=2, grow_after=5)
    wait_for_start(folder, 1)
    with in_its_middle(head, folder):
        kill_node(head, hosts(head)[0])
    count_again(head)
    wait_for_start(folder, 2)
    workers = head.training_workers()
    with halted(workers):
        have_nodes(head, 3)
        count_again(head)
        wait_for(lambda: not any(worker.is_running() for worker in workers), what="larger group")
    assert job.wait(timeout=240) == 0
    check_starts(folder, [3, 2, 3])
    for line, other in zip(metrics(folder), metrics(trained), strict=True):
        assert line["source_loss"] == pytest.approx(other["source_loss"], abs=1e-5)


def wait_until_room_is_waited_for(head: Cluster) -> None:
    """Until Ray Train has asked for room for its workers, given up and asked again."""
    asked = set()

    def again() -> bool:
        groups = head.ask("/api/v0/placement_groups?limit=1000")["data"]["result"]["result"]
        asked.update(one["placement_group_id"] for one in groups if one["state"] == "PENDING")
        return len(asked) > 1

    wait_for(again, what="second request for room", every=0.2)


def test_a_killed_node_and_a_killed_driver(
    head: Cluster, start: Start, trained: Path, tmp_path: Path
) -> None:
    """Two workers on two nodes end with the weights that they have on one.

    A node's raylet and all of its workers are gone at once; a new node comes some seconds later.
    Then the driver is killed. The cluster lives on, and clears away what it left; the same command
    goes on.
    """
    folder = tmp_path / "run"
    have_nodes(head, 2)
    job = start(workers=2)
    wait_for_start(folder, 1)
    with in_its_middle(head, folder) as before:
        assert len(set(hosts(head))) == 2
        kill_node(head, hosts(head)[0])
    wait_until_room_is_waited_for(head)
    assert job.poll() is None
    assert not (folder / "model").exists()

    have_nodes(head, 2)
    wait_for_start(folder, 2)
    with in_its_middle(head, folder, after=starts(folder)[1]["step"]) as after:
        assert after[: len(before)] == before  # with the seconds that each took: not done again
        assert len(set(hosts(head))) == 2
        job.kill()
        job.wait()
        assert not (folder / "model").exists()

    assert start(workers=2).wait(timeout=240) == 0
    check_starts(folder, [2, 2, 2])
    assert metrics(folder)[: len(after)] == after
    assert weights(folder) == weights(trained)
    wait_for(lambda: not hosts(head), 30)


def announce_end(head: Cluster, name: str) -> None:
    """As the documentation says, of a node that a cloud is going to take away; returns when the
    training workers have been told."""

    def told() -> bool:
        tasks = head.ask("/api/v0/tasks?limit=1000&detail=1")["data"]["result"]["result"]
        return any("mark_preempt" in task["name"] for task in tasks)

    (node,) = (node for node, its_name in head.nodes().items() if its_name == name)
    command = ["ray", "drain-node", f"--address={head.address}", f"--node-id={node}"]
    why = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot"]
    options = [*why, "--deadline-remaining-seconds=600"]
    subprocess.run([*command, *options], env=head.environment, check=True, timeout=60)
    wait_for(told, what="word to the workers")


def test_a_node_that_is_to_be_taken_away(
    head: Cluster, start: Start, trained: Path, tmp_path: Path
) -> None:
    """The run leaves it at once with a checkpoint of its own: no step is done again, and that is no
    failure."""
    folder = tmp_path / "run"
    have_nodes(head, 2)
    job = start(workers=2, checkpoint_every=STEPS, max_failures=0)
    wait_for_start(folder, 1)
    with halted(head.training_workers()):
        leaving = hosts(head)[0]
        announce_end(head, leaving)
    # Long before its deadline: a node on which nothing is left ends by itself.
    wait_for(lambda: leaving not in head.nodes().values(), what="end of the node")
    before = metrics(folder)
    assert 0 < len(before) == steps_done(str(folder)) < STEPS
    have_nodes(head, 2)
    assert job.wait(timeout=240) == 0
    _, second = starts(folder)
    assert (second["step"], second["steps_again"]) == (len(before), 0)
    assert metrics(folder)[: len(before)] == before
    assert weights(folder) == weights(trained)
