from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from more_ray.serve.batches import Batches

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=30)


@given(SIZES)
@settings(max_examples=30, deadline=None)
def test_everyone_gets_their_own_result_in_batches_within_the_limit(sizes: list[int]) -> None:
    seen: list[list[int]] = []

    def compute(items: Sequence[int]) -> list[int]:
        seen.append([sizes[item] for item in items])
        return [10 * item for item in items]

    async def ask() -> list[int]:
        batches = Batches(compute, limit=10)
        calls = (batches.result(item, size) for item, size in enumerate(sizes))
        return await asyncio.gather(*calls)

    assert asyncio.run(ask()) == [10 * item for item in range(len(sizes))]
    assert all(sum(batch) <= 10 or len(batch) == 1 for batch in seen)
    assert [size for batch in seen for size in batch] == sizes


def test_what_comes_while_a_batch_runs_goes_together() -> None:
    go_on = threading.Event()
    seen: list[list[int]] = []

    def compute(items: Sequence[int]) -> list[int]:
        seen.append(list(items))
        go_on.wait(10)
        return list(items)

    async def ask() -> None:
        batches = Batches(compute, limit=100)
        first = asyncio.create_task(batches.result(0, 1))
        while not seen:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batches.result(item, 1)) for item in (1, 2, 3)]
        await asyncio.sleep(0.01)
        others[1].cancel()
        go_on.set()
        assert await first == 0
        assert await asyncio.gather(others[0], others[2]) == [1, 3]

    asyncio.run(ask())
    assert seen == [[0], [1, 3]], "who has hung up is not computed for"


def test_an_error_reaches_the_whole_batch_and_the_next_goes_on() -> None:
    def compute(items: Sequence[int]) -> list[int]:
        if 0 in items:
            raise ArithmeticError("no")
        return list(items)

    async def ask() -> None:
        batches = Batches(compute, limit=1)
        with pytest.raises(ArithmeticError):
            await batches.result(0, 1)
        batches.check()
        assert await batches.result(1, 1) == 1

    asyncio.run(ask())
