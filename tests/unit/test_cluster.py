from __future__ import annotations

from types import SimpleNamespace

import pytest

from more_ray import cluster
from more_ray.cluster import cluster_address
from more_ray.errors import UserError


@pytest.mark.parametrize(("value", "address"), [(None, None), ("", None), ("here:6379",) * 2])
def test_an_empty_address_means_a_cluster_of_its_own(
    monkeypatch: pytest.MonkeyPatch, value: str | None, address: str | None
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if value is not None:
        monkeypatch.setenv("RAY_ADDRESS", value)
    assert cluster_address() == address


class FakeRay:
    """Clusters with a number of CPUs, one at a time."""

    def __init__(self) -> None:
        self.data = SimpleNamespace(
            DataContext=SimpleNamespace(get_current=lambda: SimpleNamespace())
        )
        self.started: list[int] = []
        self.running = False

    def is_initialized(self) -> bool:
        return self.running

    def init(self, *where: str, num_cpus: int, **options: object) -> None:
        assert not self.running
        self.started.append(num_cpus)
        self.running = True

    def shutdown(self) -> None:
        self.running = False

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.started[-1])}

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(gcs_address=f"here:{len(self.started)}")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """Ray on a machine with two cores, where nobody names a cluster."""
    fake = FakeRay()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "ray", fake)
    monkeypatch.setattr(cluster, "_own", set())
    monkeypatch.setattr(cluster, "_can_fork_workers", lambda: False)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    return fake


def test_verbs_share_a_cluster_while_it_is_large_enough(fake: FakeRay) -> None:
    for workers in (1, 1, 4, 2):
        cluster.connect(workers, verbose=False)
    assert fake.started == [4, 7]


def test_a_cluster_of_somebody_else_is_used_as_it_is(fake: FakeRay) -> None:
    fake.init(num_cpus=1)
    cluster.connect(4, verbose=False)
    assert fake.started == [1]


def test_a_cluster_with_work_under_way_is_not_taken_away(fake: FakeRay) -> None:
    refused = pytest.raises(UserError, match="a local Ray of 5 CPUs is needed")
    with cluster.session(1, verbose=True), refused:
        cluster.connect(1, verbose=False)
    cluster.connect(2, verbose=False)
    assert fake.started == [4, 5]


def test_a_session_hands_on_what_the_user_can_mend(fake: FakeRay) -> None:
    with pytest.raises(UserError, match="mine"), cluster.session(1, verbose=True):
        raise UserError("mine")
