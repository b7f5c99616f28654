"""When a replica may listen itself: it must run where clients ask."""

from __future__ import annotations

from typing import Any

import pytest

from more_ray.serve.app import all_on_one_machine


def node(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "gpus", "answer"),
    [
        ([node(CPU=5.0)], 0, True),
        ([node(CPU=5.0), node(alive=False)], 0, True),
        ([node(CPU=5.0), node(CPU=5.0)], 0, False),
        ([node(CPU=5.0, GPU=1.0)], 1, True),
        ([node(CPU=5.0)], 1, False),  # a GPU node is still to be started
        ([node()], 0, False),
    ],
)
def test_the_only_node_can_run_the_replica(
    nodes: list[dict[str, Any]], gpus: float, answer: bool
) -> None:
    assert all_on_one_machine(nodes, gpus) == answer
