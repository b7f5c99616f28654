from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch.distributed as dist

from more_ray.train.engine import init_distributed


@pytest.fixture(scope="session")
def process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    patch = pytest.MonkeyPatch()
    patch.setenv("LOCAL_RANK", "0")
    init_distributed(stall_timeout=60)
    yield
    dist.destroy_process_group()
    patch.undo()
