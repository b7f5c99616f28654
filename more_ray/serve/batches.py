"""Batches of requests: those that wait at the same time are computed together.

While a batch is computed, new requests wait; then as many as fit form the next batch, in order. So
no request waits for a batch to fill, and a busy server computes large batches. (`serve.batch` would
form the next batches while one is running, mostly of a single request each.)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Waiting(Generic[Item, Result]):
    item: Item
    size: int
    result: asyncio.Future[Result] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batches(Generic[Item, Result]):
    """Runs `compute` in a separate thread, on items of at most `limit` total size, or on one item.

    Args:
        compute: returns the results of a batch, in order.
    """

    def __init__(self, compute: Callable[[Sequence[Item]], Sequence[Result]], limit: int) -> None:
        self._compute = compute
        self._limit = limit
        self._waiting: deque[Waiting[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1)
        self._running: asyncio.Task[None] | None = None

    async def result(self, item: Item, size: int) -> Result:
        """The result of an item; items of callers that were cancelled while waiting are skipped."""
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        request: Waiting[Item, Result] = Waiting(item, size)
        self._waiting.append(request)
        self._arrived.set()
        return await request.result

    def check(self) -> None:
        """Raises RuntimeError if the task that computes has ended."""
        if self._running is not None and self._running.done():
            raise RuntimeError("the scoring task has ended")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            items = [request.item for request in batch]
            try:
                results = await loop.run_in_executor(self._thread, self._compute, items)
            except Exception as error:
                for request in batch:
                    if not request.result.done():
                        request.result.set_exception(error)
            else:
                for request, result in zip(batch, results, strict=True):
                    if not request.result.done():
                        request.result.set_result(result)

    def _take(self) -> list[Waiting[Item, Result]]:
        batch: list[Waiting[Item, Result]] = []
        size = 0
        while self._waiting:
            if self._waiting[0].result.done():
                self._waiting.popleft()
                continue
            size += self._waiting[0].size
            if batch and size > self._limit:
                break
            batch.append(self._waiting.popleft())
        return batch
