"""The replica's own HTTP server, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from support import free_ports

from more_ray.serve.listener import Bounded, Listener


class Slow:
    """An ASGI app that reads the body, waits until it is let go, and answers with its length."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.under_way = self.cancelled = 0

    async def __call__(self, scope, receive, send) -> None:
        length, more = 0, True
        while more:
            message = await receive()
            length, more = length + len(message["body"]), message["more_body"]
        self.under_way += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(length).encode()})


Test = Callable[[Slow, Listener, str, aiohttp.ClientSession], Awaitable[None]]


def with_listener(test: Test, most: int = 10, timeout: float = 30.0) -> None:
    async def run() -> None:
        (port,) = free_ports(1)
        app = Slow()
        listener = Listener(Bounded(app, most, timeout), "127.0.0.1", port)
        listener.start()
        async with aiohttp.ClientSession() as session:
            await test(app, listener, f"http://127.0.0.1:{port}", session)
        app.go.set()
        await listener.stop()

    asyncio.run(asyncio.wait_for(run(), 60))


async def until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.01)


async def ask(session: aiohttp.ClientSession, url: str, size: int = 3) -> tuple[int, str]:
    async with session.post(url, data=b"x" * size) as answer:
        return answer.status, await answer.text()


def test_answers_are_those_of_the_app() -> None:
    async def test(app: Slow, listener: Listener, url: str, session: aiohttp.ClientSession) -> None:
        app.go.set()
        assert await ask(session, url, 2_000_000) == (200, "2000000")  # in many messages
        assert await ask(session, url) == (200, "3")

    with_listener(test)


def test_more_requests_than_allowed_are_refused_and_the_others_answered() -> None:
    async def test(app: Slow, listener: Listener, url: str, session: aiohttp.ClientSession) -> None:
        asked = [asyncio.create_task(ask(session, url)) for _ in range(2)]
        await until(lambda: app.under_way == 2)
        async with session.post(url) as refused:
            assert refused.status == 503
            assert refused.headers["Retry-After"] == "1"
        app.go.set()
        assert await asyncio.gather(*asked) == [(200, "3")] * 2
        assert (await ask(session, url))[0] == 200

    with_listener(test, most=2)


def test_late_answers_end_with_408() -> None:
    async def test(app: Slow, listener: Listener, url: str, session: aiohttp.ClientSession) -> None:
        assert await ask(session, url) == (408, '{"detail":"no answer within 0.2 s"}')
        assert app.cancelled == 1
        app.go.set()
        assert (await ask(session, url))[0] == 200

    with_listener(test, timeout=0.2)


def test_a_body_that_never_ends_is_late_too() -> None:
    async def test(app: Slow, listener: Listener, url: str, session: aiohttp.ClientSession) -> None:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()

    with_listener(test, timeout=0.2)


def test_nothing_is_computed_for_who_has_left() -> None:
    async def test(app: Slow, listener: Listener, url: str, session: aiohttp.ClientSession) -> None:
        with pytest.raises(asyncio.TimeoutError):
            async with session.post(url, timeout=aiohttp.ClientTimeout(total=0.2)):
                pass
        await until(lambda: app.cancelled == 1)
        app.go.set()
        assert (await ask(session, url))[0] == 200

    with_listener(test, most=1)


def test_requests_under_way_are_finished_before_the_end() -> None:
    async def test(app: Slow, listener: Listener, url: str, session: aiohttp.ClientSession) -> None:
        asked = asyncio.create_task(ask(session, url))
        await until(lambda: app.under_way == 1)
        stopping = asyncio.create_task(listener.stop())
        await asyncio.sleep(0.3)
        assert not stopping.done()
        app.go.set()
        await stopping
        assert await asked == (200, "3")
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(session, url)

    with_listener(test)


def test_an_address_that_is_taken_is_an_error_at_once() -> None:
    async def run() -> None:
        (port,) = free_ports(1)
        first = Listener(Slow(), "127.0.0.1", port)
        first.start()
        with pytest.raises(OSError, match="in use"):
            Listener(Slow(), "127.0.0.1", port).start()
        await first.stop()

    asyncio.run(run())
