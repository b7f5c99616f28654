from __future__ import annotations

import pytest

from more_ray.cluster import cluster_address


@pytest.mark.parametrize(("value", "address"), [(None, None), ("", None), ("here:6379",) * 2])
def test_an_empty_address_means_a_cluster_of_its_own(
    monkeypatch: pytest.MonkeyPatch, value: str | None, address: str | None
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if value is not None:
        monkeypatch.setenv("RAY_ADDRESS", value)
    assert cluster_address() == address
